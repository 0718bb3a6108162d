"""What makes the engine fast: each prompt computed once, a decoder without overhead, LoRA without copies."""
