"""The bridge between the web application and the engine: the only code that knows both sides."""
