"""Fast paths: each prompt computed once, a decoder without overhead, LoRA without copies."""
