"""A small worker for tests: FastChat's own worker base and HTTP protocol around
a model that always says the same. It tokenises words, streams, counts, and
gives log-probabilities of the prompt, in which "blue" is the likeliest word."""

import argparse
import json
import re
import time

import uvicorn
from fastchat.conversation import Conversation, SeparatorStyle
from fastchat.serve import base_model_worker as base

REPLY = (
    "one, two, three, four, five, six, seven, eight, nine, ten, élan, 漢字, "
    "👩‍👩‍👧, and so on without an end in sight"
)


def tokenize(text):
    return re.findall(r"\s?\w+|\s|[^\w\s]", text)


class Tokens:
    def __init__(self, text):
        self.input_ids = tokenize(text)


def logprob(token):
    return -0.2 if token.strip() in ("blue", "") else -3.0 - 0.1 * len(token)


class Worker(base.BaseModelWorker):
    def __init__(self, args):
        super().__init__(args.controller, args.address, "test", args.model, [args.model], 1000)
        self.context_len = args.context
        self.logprobs = args.logprobs
        self.tokenizer = Tokens
        self.init_heart_beat()

    def make_conv_template(self, conv_template=None, model_path=None):
        return Conversation(
            name="test",
            system_message="You help.",
            roles=("USER", "ASSISTANT"),
            sep_style=SeparatorStyle.ADD_COLON_SINGLE,
            sep="\n",
        )

    def outputs(self, params):
        prompt, limit = params["prompt"], params["max_new_tokens"]
        prompt_tokens = tokenize(prompt)
        echo = prompt if params.get("echo") else ""
        made, text, finish = [], "", None
        for token in tokenize(REPLY):
            if len(made) >= limit:
                finish = "length"
                break
            made.append(token)
            text += token
            cuts = [text.find(s) for s in params.get("stop") or [] if s and s in text]
            if cuts:
                text, finish = text[: min(cuts)], "stop"
            if finish:
                break
            if any(
                text.endswith(s[:n]) for s in params.get("stop") or [] for n in range(1, len(s))
            ):
                continue  # as real workers do, hold back what may become a stop string
            yield self.output(params, echo, text, prompt_tokens, made, None)
            time.sleep(0.001)
        yield self.output(params, echo, text, prompt_tokens, made, finish or "stop")

    def output(self, params, echo, text, prompt_tokens, made, finish):
        out = {
            "text": echo + text,
            "error_code": 0,
            "finish_reason": finish,
            "usage": {
                "prompt_tokens": len(prompt_tokens),
                "completion_tokens": len(made),
                "total_tokens": len(prompt_tokens) + len(made),
            },
        }
        if self.logprobs and params.get("logprobs") is not None:
            tokens = (prompt_tokens if echo else []) + made
            offsets, at = [], 0
            for token in tokens:
                offsets.append(at)
                at += len(token)
            out["logprobs"] = {
                "tokens": tokens,
                "text_offset": offsets,
                "top_logprobs": [{}] * len(tokens),
                "token_logprobs": [None] + [logprob(t) for t in tokens[1:]],
            }
        return out

    def generate_stream_gate(self, params):
        for out in self.outputs(params):
            yield json.dumps(out).encode() + b"\0"

    def generate_gate(self, params):
        for out in self.outputs(params):
            pass
        return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--controller")
    parser.add_argument("--address")
    parser.add_argument("--model")
    parser.add_argument("--context", type=int, default=600)
    parser.add_argument("--logprobs", action="store_true")
    args = parser.parse_args()
    base.worker = Worker(args)
    uvicorn.run(base.app, host="127.0.0.1", port=args.port, log_level="warning")
