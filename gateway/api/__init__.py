"""The HTTP faces: parse, call, translate. One file per noun; no rule lives here."""
