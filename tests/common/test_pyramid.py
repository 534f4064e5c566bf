import torch

from common.pyramid import SelfAttention


def test_attention_knows_where_a_place_is():
    torch.manual_seed(0)
    layer, same = SelfAttention(16).eval(), torch.ones(1, 16, 3, 4)
    found = layer(same).flatten(2)[0].T
    assert (torch.cdist(found, found) + torch.eye(12) > 1e-3).all()
