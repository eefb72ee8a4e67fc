"""The laws of a subscription, over memory twins, with a crash at every step of a life.

For every log and every set of crashes: each event that is wanted is delivered at least once or is a dead letter; it is delivered again only where a
life ended while it was on its way, with the same id; and the first deliveries of a stream are in the order of the log.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from subscribing import FOREIGN, PLACE, Setting, event

from streamkl.adapters.memory_subscription import go_on
from streamkl.errors import RecordError
from streamkl.service.ledger import Ledger
from streamkl.service.record import Partition

STREAMS = ("a", "b", "c")
POLLS = 12                  # of three messages each: enough for all

# A message: an event of a stream with the outcome of each attempt to deliver it, a repeat of an earlier message, or something foreign.
OUTCOMES = st.lists(st.sampled_from(["raise", "refuse", "take"]), min_size=1, max_size=4)
MESSAGES = st.lists(st.one_of(st.tuples(st.sampled_from(STREAMS), OUTCOMES), st.integers(0, 5), st.none()), max_size=14)
CRASHES = st.lists(st.integers(0, 45), max_size=6)


class Crash(BaseException):
    """The end of a life."""


class World:
    """A log, and what became of its events through all lives."""

    def __init__(self, messages) -> None:
        self.setting = Setting()
        self.outcomes, self.written = {}, []
        self.delivered, self.on_its_way = [], []
        for number, message in enumerate(messages):
            if isinstance(message, tuple):
                stream, outcomes = message
                one = event(stream, number)
                self.outcomes[one.id] = outcomes
                self.written.append(one)
            elif message is None or not self.written:
                self.setting.place.append(PLACE, FOREIGN)
                continue
            else:
                one = self.written[message % len(self.written)]
            self.setting.place.append(PLACE, one.to_json().encode())

    def corrector(self):
        """It does as the outcomes say, in each life from the first on; what is taken is noted."""
        attempts = {}

        def correct(one) -> None:
            number = attempts[one.id] = attempts.get(one.id, -1) + 1
            outcomes = self.outcomes[one.id]
            outcome = outcomes[min(number, len(outcomes) - 1)]
            if outcome == "raise":
                raise ValueError("not now")
            if outcome == "refuse":
                raise RecordError("never")
            self.delivered.append(one.id)

        return correct

    def live(self, crash_at: int | None) -> bool:
        """Live until nothing is left, or a crash at this step; return whether it came to its end."""
        steps = iter(range(10**6))

        def at_step(step: str) -> None:
            if next(steps) == crash_at:
                raise Crash(step)

        self.setting.store.at_step = at_step
        subscription = self.setting.subscription(self.corrector())
        before = len(self.delivered)
        try:
            while subscription.run_once(0.0):
                pass
            return True
        except Crash:
            taken = self.delivered[before:]
            self.on_its_way += [one for one in taken if one not in self.setting.store.keys]
            return False
        finally:
            self.setting.store.at_step = go_on
            subscription._delivery.close()

    def dead(self) -> list[str]:
        return [letter.incoming.event.id for letter in self.setting.store.letters]


def taken_in_the_end(outcomes) -> bool:
    """What comes of three attempts, by the words of the retry alone."""
    for outcome in [*outcomes, *[outcomes[-1]] * 3][:3]:
        if outcome == "take":
            return True
        if outcome == "refuse":
            return False
    return False


@given(MESSAGES, CRASHES)
def test_each_event_is_delivered_at_least_once_whatever_crashes(messages, crashes):
    world = World(messages)
    for crash in crashes:
        world.live(crash)
    assert world.live(None)
    ids = [one.id for one in world.written]
    assert set(world.delivered) == {one for one in ids if taken_in_the_end(world.outcomes[one])}
    assert set(world.dead()) == set(ids) - set(world.delivered)


@given(MESSAGES, CRASHES)
def test_only_what_was_on_its_way_at_a_crash_is_repeated(messages, crashes):
    world = World(messages)
    for crash in crashes:
        world.live(crash)
    world.live(None)
    repeats = [one for number, one in enumerate(world.delivered) if one in world.delivered[:number]]
    assert sorted(repeats) == sorted(world.on_its_way)
    assert len(world.on_its_way) <= len(crashes)


@given(MESSAGES, CRASHES)
def test_the_events_of_a_stream_keep_their_order(messages, crashes):
    world = World(messages)
    for crash in crashes:
        world.live(crash)
    world.live(None)
    for stream in STREAMS:
        first = [one for one in dict.fromkeys(world.delivered) if one.startswith(stream)]
        assert first == [one.id for one in world.written if one.stream == stream and one.id in set(first)]


@given(MESSAGES)
def test_in_the_end_everything_is_settled(messages):
    world = World(messages)
    world.live(None)
    written = len(world.setting.place.records.get(PLACE, ()))
    assert world.setting.place.positions == ({PLACE: written} if written else {})


@given(MESSAGES, st.lists(st.integers(0, 12), max_size=5))
def test_whoever_polls_and_acknowledges_gets_again_what_he_did_not(messages, unanswered):
    """By hand: what is left unanswered in one life comes in the next; what was acknowledged does not."""
    world = World(messages)
    acknowledged = set()

    def life(is_answered) -> list[str]:
        subscription, found = world.setting.subscription(), []
        for _ in range(POLLS):
            for one in subscription.poll(0.0):
                found.append(one.id)
                if is_answered(len(found)):
                    subscription.ack(one)
                    acknowledged.add(one.id)
        subscription.close()
        return found

    wanted = [one.id for one in world.written]
    first = life(lambda number: number not in unanswered)
    assert first == wanted
    left = [one for one in wanted if one not in acknowledged]
    assert life(lambda number: True) == left
    assert life(lambda number: True) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60), st.randoms(use_true_random=False))
def test_a_position_passes_nothing_that_is_not_dealt_with(takes, random):
    ledger, offsets, undone = Ledger(), {}, {}
    for number, is_done in takes:
        place = Partition("drift", number)
        offsets[place] = offsets.get(place, 0) + random.randint(1, 3)
        ledger.take(place, offsets[place])
        undone.setdefault(place, []).append(offsets[place])
        if is_done:
            one = random.choice(undone[place])
            undone[place].remove(one)
            ledger.done(place, one)
        for partition, position in ledger.moved().items():
            assert all(position < offset for offset in undone[partition])
            assert undone[partition] or position == offsets[partition]
    assert len(ledger) >= sum(map(len, undone.values()))
