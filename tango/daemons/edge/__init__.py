"""The edge master of one site: routes LC requests inside its event loop."""
