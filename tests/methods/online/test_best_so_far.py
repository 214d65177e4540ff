"""The best checkpoint as a teacher."""

from killed_runs import QUICK
from small_networks import assert_same, batches, linear, state

from kdnb.methods import online


def test_the_best_checkpoint_teaches_only_when_the_score_falls():
    scores = iter([1.0, 3.0, 2.0, 4.0])
    kept, seen = online.BestSoFar(linear()), []

    def score(network):
        seen.append(state(network))
        return next(scores)

    history = online.from_checkpoints(kept, batches(), QUICK, score=score)
    assert [row["soft"] > 0 for row in history] == [False, False, True]
    assert len(seen) == 4  # before every epoch, and the last one's end
    assert_same(state(kept.best), seen[3])
    assert_same(state(kept.best), state(kept.network))


def test_a_record_is_kept_and_a_worse_score_is_not():
    kept = online.BestSoFar(linear(0))
    assert not kept.teaches(0.5)
    best = state(kept.network)
    kept.network.load_state_dict(linear(1).state_dict())
    assert kept.teaches(0.4)
    assert_same(state(kept.best), best)
    assert not kept.teaches(0.5)  # as good: the younger one counts
    assert_same(state(kept.best), state(kept.network))
