from erprm.data.statistics.seen_names import SeenNames, hash_of


def test_only_what_came_more_than_once_is_doubled() -> None:
    seen = SeenNames()
    for name in ("a", "b", "c", "b", "ä", "b", "\ud800"):
        seen.add(name)
    assert seen.doubled() == {hash_of("b")}
    assert hash_of("b") != hash_of("c")


def test_nothing_is_doubled_in_nothing() -> None:
    assert SeenNames().doubled() == frozenset()
