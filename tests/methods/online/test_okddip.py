"""OKDDip: attention, targets of one's own, the leader."""

import draws
import pytest
import torch
from branched_networks import QUICK, branched, large, tiny
from small_networks import assert_same, batches, state

from kdnb.losses import soft_targets
from kdnb.methods import online


def test_attention_by_hand():
    attention = online.PeerAttention(16, itself=True)
    features = draws.draw(2, 3, 16).float()
    shares = attention(features)
    assert attention.left.out_features == 2
    for a in range(3):
        energies = [
            attention.left(features[1, a]) @ attention.right(features[1, b]) for b in range(3)
        ]
        torch.testing.assert_close(shares[1, a], torch.stack(energies).softmax(0))


def test_a_peer_listens_to_the_others_alone():
    features = draws.draw(2, 3, 16).float()
    attention = online.PeerAttention(16)
    shares = attention(features)
    assert (shares.diagonal(dim1=1, dim2=2) == 0).all()
    with_itself = online.PeerAttention(16, itself=True)
    with_itself.load_state_dict(attention.state_dict())
    others = with_itself(features).masked_fill(torch.eye(3, dtype=torch.bool), 0)
    torch.testing.assert_close(shares, others / others.sum(2, keepdim=True))


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize("itself", [False, True])
def test_peers_go_on_teaching(variant, itself):
    """Who may listen to itself ends by listening to nobody else; without, there is a target."""
    torch.manual_seed(0)
    attention = online.PeerAttention(32, itself=itself)
    features = torch.randn(64, 3, 32)
    logits = torch.nn.Linear(32, 4)(features).detach() * torch.tensor([1.0, -1.0, 2.0])[:, None]
    adam = torch.optim.Adam(attention.parameters(), lr=0.01)
    for _ in range(300):
        targets = online.own_targets(logits, attention(features), 3.0, variant)
        pairs = zip(logits.unbind(1), targets.unbind(1), strict=True)
        loss = sum(soft_targets(z, t, 3.0) for z, t in pairs)
        adam.zero_grad()
        loss.backward()
        adam.step()
    own = attention(features).diagonal(dim1=1, dim2=2).mean()
    assert (own > 0.9 and loss < 0.1) if itself else (own == 0 and loss > 0.1)


def test_own_targets_by_hand():
    logits, shares = draws.draw(4, 3, 5), draws.draw(4, 3, 3, seed=1).softmax(2)
    targets = online.own_targets(logits, shares, 2.0)
    for a in range(3):
        mixed = sum(shares[:, a, [b]] * (logits[:, b] / 2).softmax(1) for b in range(3))
        torch.testing.assert_close((targets[:, a] / 2).softmax(1), mixed)
    authors = online.own_targets(logits, shares, 2.0, "authors")
    torch.testing.assert_close(
        authors[:, 1], sum(shares[:, 1, [b]] * logits[:, b] for b in (0, 1, 2))
    )
    mean = (logits / 2).softmax(2).mean(1)
    torch.testing.assert_close((online.leaders_target(logits, 2.0) / 2).softmax(1), mean)
    torch.testing.assert_close(online.leaders_target(logits, 2.0, "authors"), logits.mean(1))


def test_the_targets_gradient_reaches_the_attention_alone():
    for variant, leaks in (("paper", False), ("authors", True)):
        logits, shares = draws.draw(4, 3, 5).requires_grad_(), draws.draw(4, 3, 3, seed=1)
        shares = shares.softmax(2).requires_grad_()
        targets = online.own_targets(logits, shares, 2.0, variant)
        soft_targets(draws.draw(4, 5, seed=2), targets[:, 0], 2.0).backward()
        assert shares.grad.abs().max() > 0
        assert (logits.grad is not None) == leaks


def test_nobody_learns_from_the_leader():
    """Another leader changes no peer; without the peers' terms the leader would learn no more."""
    ends = []
    for shift in (0.0, 3.0):
        branches, attention = tiny(4), online.PeerAttention(4)
        with torch.no_grad():
            attention.left.weight.copy_(draws.draw(1, 4, seed=1))
            attention.right.weight.copy_(draws.draw(1, 4, seed=2))
            branches.stem.requires_grad_(False)  # the one thing that leader and peers share
            branches.heads[3][2].weight.add_(shift)
        history = online.okddip(branches, attention, batches(), QUICK)
        assert history[0]["leader"] > 0
        ends.append(branches)
    for a in range(3):
        assert_same(state(ends[0].heads[a]), state(ends[1].heads[a]))


def test_okddip_trains_its_attention():
    attention = online.PeerAttention(64)
    before = attention.left.weight.clone()
    history = online.okddip(branched(4), attention, large(), QUICK, variant="authors")
    assert history[0]["peers"] > 0
    assert (attention.left.weight - before).abs().max() > 0
    with pytest.raises(ValueError, match="2 peers and a leader; got 2"):
        online.okddip(tiny(2), attention, batches(), QUICK)
    with pytest.raises(ValueError, match="variant must be"):
        online.okddip(tiny(3), attention, batches(), QUICK, variant="mine")
