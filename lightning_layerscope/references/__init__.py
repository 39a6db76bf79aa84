"""ReferenceBank: the stored hidden states (mostly as Gram matrices) that others are compared with."""

from lightning_layerscope.references.bank import ReferenceBank, as_bank

__all__ = ["ReferenceBank", "as_bank"]
