"""Image files to samples: folders, zips, the Hugging Face hub; decoded once and kept."""
