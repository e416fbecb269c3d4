"""Files <-> frames: videos read and cut, summaries drawn and written."""
