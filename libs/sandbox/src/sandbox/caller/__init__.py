"""A caller: what a voice platform does to a model server, over HTTP. `python -m sandbox.caller` plays a whole call."""
