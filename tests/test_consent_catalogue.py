"""A municipality enables or narrows the shipped grounds, and cannot invent or widen one."""

from typing import get_args

import pytest

from consent.catalogue import CATALOGUE, CatalogueEntry, Ground, GroundSetting, enable_grounds
from consent.choice import PartSelector
from consent.errors import ConsentError
from mappings.codes import KINDS, OrganisationKind, Purpose

each_entry = pytest.mark.parametrize("entry", CATALOGUE, ids=[entry.id for entry in CATALOGUE])


def refused(*settings: GroundSetting) -> list[tuple[str, str]]:
    """Return (pointer, code) of what is wrong."""
    with pytest.raises(ConsentError) as caught:
        enable_grounds(settings)
    assert all(finding.remedy for finding in caught.value.findings)
    return [(finding.pointer, finding.code) for finding in caught.value.findings]


def test_nothing_is_enabled_by_default() -> None:
    """An empty file gives no ground."""
    assert enable_grounds([]) == ()


@each_entry
class TestEntry:
    """What the catalogue ships."""

    def test_names_article_recipients_purposes_and_kinds(self, entry: CatalogueEntry) -> None:
        """An absent list would mean any."""
        assert entry.article
        assert entry.organisation_kinds
        assert entry.purposes
        assert entry.kinds
        assert entry.ground in get_args(Ground)

    def test_is_no_consent_and_no_own_record(self, entry: CatalogueEntry) -> None:
        """Those follow from the plan and the choices, not from a file."""
        assert entry.ground not in {"consent", "own-data", "authored"}

    def test_reaches_restricted_parts_only_as_a_ground_for_safety(self, entry: CatalogueEntry) -> None:
        """Safety kinds and `restricted` go together."""
        assert entry.restricted == ("safety" in entry.kinds)
        assert not entry.restricted or entry.ground in {"reporting-right", "vital-interest"}

    def test_is_enabled_as_it_ships(self, entry: CatalogueEntry) -> None:
        """A line with the id alone."""
        (ground,) = enable_grounds([GroundSetting(id=entry.id)])
        assert ground.entry is entry
        assert ground.organisation_kinds == set(entry.organisation_kinds)
        assert ground.purposes == set(entry.purposes)
        assert ground.parts == (PartSelector(kinds=entry.kinds),)

    def test_is_narrowed(self, entry: CatalogueEntry) -> None:
        """To a kind of organisation, a purpose and parts of its own."""
        selector = PartSelector(kinds=entry.kinds[:1], domains=("housing",), part_ids=("d1",))
        (ground,) = enable_grounds(
            [
                GroundSetting(
                    id=entry.id,
                    organisation_kind=entry.organisation_kinds[0],
                    purpose=entry.purposes[0],
                    parts=(selector,),
                )
            ]
        )
        assert ground.organisation_kinds == {entry.organisation_kinds[0]}
        assert ground.purposes == {entry.purposes[0]}
        assert ground.parts == (selector,)

    def test_is_not_widened_to_another_kind_of_organisation(self, entry: CatalogueEntry) -> None:
        """Any other is refused."""
        for kind in set(get_args(OrganisationKind)) - set(entry.organisation_kinds):
            setting = GroundSetting(id=entry.id, organisation_kind=kind)
            assert refused(setting) == [("/0/organisationKind", "wider-than-catalogue")]

    def test_is_not_widened_to_another_purpose(self, entry: CatalogueEntry) -> None:
        """Any other is refused."""
        for purpose in set(get_args(Purpose)) - set(entry.purposes):
            assert refused(GroundSetting(id=entry.id, purpose=purpose)) == [("/0/purpose", "wider-than-catalogue")]

    def test_is_not_widened_to_another_kind_of_part(self, entry: CatalogueEntry) -> None:
        """Not even beside its own."""
        for kind in set(KINDS) - set(entry.kinds):
            parts = (PartSelector(kinds=entry.kinds), PartSelector(kinds=(*entry.kinds, kind)))
            assert refused(GroundSetting(id=entry.id, parts=parts)) == [("/0/parts/1/kinds", "wider-than-catalogue")]

    def test_is_not_widened_by_leaving_the_kinds_out(self, entry: CatalogueEntry) -> None:
        """An absent list means any, which is more than the entry has."""
        for selector in (PartSelector(), PartSelector(domains=("housing",)), PartSelector(part_ids=("d1",))):
            setting = GroundSetting(id=entry.id, parts=(selector,))
            assert refused(setting) == [("/0/parts/0/kinds", "wider-than-catalogue")]


def test_a_ground_that_is_not_in_the_catalogue_is_refused() -> None:
    """The remedy names those that are."""
    with pytest.raises(ConsentError) as caught:
        enable_grounds([GroundSetting(id="wmo-decision"), GroundSetting(id="Kanarie")])
    (finding,) = caught.value.findings
    assert (finding.pointer, finding.code) == ("/1/id", "unknown-ground")
    assert all(entry.id in finding.remedy for entry in CATALOGUE)
    assert "Kanarie" not in finding.remedy + str(caught.value)


def test_every_wrong_line_of_a_file_is_told() -> None:
    """With what is wrong in each."""
    bad = GroundSetting(id="wmo-decision", organisation_kind="gp", purpose="support", parts=(PartSelector(),))
    assert refused(GroundSetting(id="x"), GroundSetting(id="wmo-assignment"), bad) == [
        ("/0/id", "unknown-ground"),
        ("/2/organisationKind", "wider-than-catalogue"),
        ("/2/purpose", "wider-than-catalogue"),
        ("/2/parts/0/kinds", "wider-than-catalogue"),
    ]


def test_grounds_keep_the_order_of_the_file() -> None:
    """The first that carries a part is the one that is named."""
    names = [entry.id for entry in reversed(CATALOGUE)]
    assert [ground.entry.id for ground in enable_grounds(GroundSetting(id=name) for name in names)] == names


def test_ids_of_entries_differ() -> None:
    """A line names one entry."""
    assert len({entry.id for entry in CATALOGUE}) == len(CATALOGUE)
