"""Every way to ask torch for less precision in float32 products, as the beginning of a script."""

WAYS = """
import os, sys, torch

def legacy(): torch.set_float32_matmul_precision("medium")
def allow(): torch.backends.cuda.matmul.allow_tf32 = True
def everywhere(): torch.backends.fp32_precision = "tf32"
def one(): torch.backends.mkldnn.matmul.fp32_precision = "bf16"
def other(): torch.backends.cuda.matmul.fp32_precision = "tf32"

recent = hasattr(torch.backends.cuda.matmul, "fp32_precision")
ways = [legacy, allow, *([everywhere, one, other] if recent else [])]
"""
