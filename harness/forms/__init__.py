"""A run in the forms that others read: JUnit, SARIF, Markdown, a zip to send, and a scene in Rerun. Nothing here runs a solver."""
