"""Encodes texts with the Hugging Face tokenizers package, the reference.

usage: compare_hf.py TOKENIZER.json < texts > ids

Reads one JSON string a line and writes one JSON list of ids a line. Text of
special tokens is ordinary text. Needs: pip install 'tokenizers==0.22.*'
"""

import json
import sys

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation()
tokenizer.no_padding()
tokenizer.encode_special_tokens = True
for line in sys.stdin:
    ids = tokenizer.encode(json.loads(line), add_special_tokens=False).ids
    print(json.dumps(ids, separators=(",", ":")))
