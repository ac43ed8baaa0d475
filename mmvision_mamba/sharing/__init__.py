"""Models to give away: a folder of data alone, read without running code, and its way to the Hugging Face Hub."""
