"""The paper's figures, from the symbol world: each module draws one into `docs/figures`."""
