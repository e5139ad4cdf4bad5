"""Converts images, pb2 <-> model: what nodes hold, and what registries say."""

from __future__ import annotations

from tango.model.checks import check_range
from tango.model.layers import (
    MAX_BANDWIDTH,
    MAX_HELD_IMAGES,
    MAX_LAYERS,
    MAX_NAMES,
    HeldImage,
    ImageLayers,
    Layer,
    NodeImages,
)
from tango.model.views import ImageView
from tango.v1 import central_service_pb2 as central
from tango.v1 import types_pb2 as pb
from tango.wire.convert_fields import text


def held_image_to_pb(image: HeldImage) -> pb.HeldImage:
    """Field by field."""
    return pb.HeldImage(
        names=image.names, digest=image.digest, size_bytes=image.size_bytes, layers=image.layers
    )


def held_image_from_pb(message: pb.HeldImage) -> HeldImage:
    """Raises InvalidField for more than one image may have."""
    check_range("image.names", len(message.names), 0, MAX_NAMES)
    check_range("image.layers", len(message.layers), 0, MAX_LAYERS)
    return HeldImage(
        tuple(message.names), message.digest, message.size_bytes, tuple(message.layers)
    )


def node_images_to_pb(images: NodeImages) -> pb.NodeImages:
    """bandwidth_bytes_per_s stays unset where nobody knows it."""
    return pb.NodeImages(
        node=images.node,
        images=[held_image_to_pb(image) for image in images.images],
        bandwidth_bytes_per_s=images.bandwidth_bytes_per_s,
        problem=text(images.problem),
    )


def node_images_from_pb(message: pb.NodeImages) -> NodeImages:
    """Raises InvalidField for more than a node may tell, and a bandwidth that is none."""
    check_range("images", len(message.images), 0, MAX_HELD_IMAGES)
    bandwidth = None
    if message.HasField("bandwidth_bytes_per_s"):
        bandwidth = message.bandwidth_bytes_per_s
        check_range("images.bandwidth_bytes_per_s", bandwidth, 1, MAX_BANDWIDTH)
    held = tuple(held_image_from_pb(image) for image in message.images)
    return NodeImages(message.node, held, bandwidth, message.problem)


def image_view_to_pb(view: ImageView) -> central.ImageView:
    """An image that nobody knows has no digest."""
    image = view.content or ImageLayers("", ())
    return central.ImageView(
        image=view.image,
        digest=image.digest,
        tag_digest=image.tag_digest,
        layers=[
            central.ImageLayer(digest=layer.digest, size_bytes=layer.size_bytes)
            for layer in image.layers
        ],
        age_s=view.age_s,
        problem=text(view.problem),
    )


def image_view_from_pb(message: central.ImageView) -> ImageView:
    """As image_view_to_pb."""
    layers = tuple(Layer(layer.digest, layer.size_bytes) for layer in message.layers)
    return ImageView(
        message.image,
        ImageLayers(message.digest, layers, message.tag_digest) if message.digest else None,
        message.age_s if message.HasField("age_s") else None,
        message.problem,
    )
