"""Rows of the EUA data set (edge sites and users of Melbourne) as places.

Format (swinedge/eua-dataset, MIT; Lai et al., "Optimal Edge User Allocation in Edge Computing with
Variable Sized Vector Bin Packing", ICSOC 2018; the sites are of the ACMA's register): CSV with a
header; `SITE_ID,LATITUDE,LONGITUDE,...` for sites, `Latitude,Longitude` for users, in degrees.
Columns are found by name, in whatever case.
"""

from __future__ import annotations

from dataclasses import dataclass

from tango.workload.trace_rows import (
    RowError,
    check_width,
    find_columns,
    parse_decimal,
    split_csv,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A point on the Earth, in degrees. name: the site's id, "" for a user."""

    latitude: float
    longitude: float
    name: str = ""


class PlaceRows:
    """Users: any table with a latitude and a longitude."""

    names: tuple[str, ...] = ("latitude", "longitude")

    def __init__(self) -> None:
        self._places: tuple[int, ...] = ()
        self._width = 0

    @property
    def first_line(self) -> str:
        """The header, with the columns that are used."""
        return f"a header with {','.join(self.names).upper()}"

    def header(self, text: str, line: int) -> bool:
        """Find the columns."""
        fields = [field.lower() for field in split_csv(text, line)]
        self._places, self._width = find_columns(fields, self.names, line), len(fields)
        return True

    def record(self, text: str, line: int) -> Place:
        """One row."""
        return self._place(self._fields(text, line), line)

    def _fields(self, text: str, line: int) -> list[str]:
        fields = split_csv(text, line)
        check_width(fields, self._width, line)
        return [fields[place].strip() for place in self._places]

    def _place(self, fields: list[str], line: int, name: str = "") -> Place:
        latitude = parse_decimal(fields[0], line, "latitude", 90, low=-90)
        longitude = parse_decimal(fields[1], line, "longitude", 180, low=-180)
        return Place(latitude, longitude, name)


class SiteRows(PlaceRows):
    """Sites, whose ids must differ; its memory follows their number."""

    names = ("latitude", "longitude", "site_id")

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def record(self, text: str, line: int) -> Place:
        """One row."""
        fields = self._fields(text, line)
        name = fields[2]
        if not name or name in self._seen:
            problem = f"{name!r} is given twice" if name else "is empty"
            raise RowError(line, "site_id", problem, "give each site an id of its own")
        place = self._place(fields, line, name)
        self._seen.add(name)
        return place
