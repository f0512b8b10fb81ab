"""The tokenizer of the tiny models, trained offline on the sentences of the embedded data set. Imports no torch, so
that workers that only count or check tokens start in a second.
"""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from swim.data.context import TINY_POSITIONS
from swim.data.synthetic.vocabulary import ask_corpus, corpus
from swim.recipe import Vocabulary

# Qwen's special tokens, in the order the vocabulary begins with.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def build_tokenizer(vocabulary: Vocabulary = "describe") -> PreTrainedTokenizerFast:
    """Byte-level BPE over the embedded templates: each of their words is one token, any other text still encodes.
    `vocabulary` "ask" has the words of one-word answers besides."""
    sentences = corpus() + (ask_corpus() if vocabulary == "ask" else ())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=1,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # The chat template's role words are text too.
    tokenizer.train_from_iterator([*sentences, "system\n", "user\n", "assistant\n"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=TINY_POSITIONS,
    )
