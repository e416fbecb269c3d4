"""`python -m llava_v2xum.drafting ANSWERS ... --tokenizer CHECKPOINT --out TABLE`: a table of n-grams from answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.command_line import Parser
from ...core.errors import V2XumError
from ...core.extras import end_without
from . import NgramTable, Vocabulary
from .sources import TOKENIZER_NEEDED, load_tokenizer, read_answers, timeline_of, token_ids

DESCRIPTION = """Learn from answers how answers go on, so that llava_v2xum.infer (--draft-table TABLE) writes its own
with fewer passes from the first video on. The table changes no answer."""
EXAMPLES = """examples:
  python -m llava_v2xum.drafting train_instructv2xum.json --tokenizer ./v2xum-7b --out drafts.json
      from the answers that the model was trained on
  python -m llava_v2xum.drafting out/summaries.jsonl --tokenizer ./v2xum-7b --out drafts.json
      from answers that it has written

exit status: 0 written; 2 a file that cannot be read, or bad arguments
"""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m llava_v2xum.drafting",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("answers", nargs="+", type=Path, metavar="ANSWERS", help='instruction JSON, or JSON lines with an "answer"')
    add("--tokenizer", type=Path, required=True, metavar="FOLDER", help=TOKENIZER_NEEDED)
    add("--out", type=Path, required=True, metavar="TABLE", help="the file to write")
    add("--max-contexts", type=int, default=200_000, metavar="N", help="it keeps at most (%(default)s: 70 MB)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, learn, write; the exit status."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    end_without("torch", "transformers")
    if not args.out.absolute().parent.is_dir():
        parser.error(f"--out: no such folder: {args.out.parent}")
    try:
        timeline, tokenizer = timeline_of(args.tokenizer), load_tokenizer(args.tokenizer)
        table = NgramTable(Vocabulary.of(tokenizer, timeline), max_contexts=args.max_contexts)
        count = 0
        for path in args.answers:
            for answer in read_answers(path, timeline):
                table.learn(token_ids(tokenizer, answer))
                count += 1
        table.save(args.out)
    except (OSError, V2XumError) as error:
        parser.error(str(error))
    print(f"{args.out}: {count} answers, {len(table)} contexts")
    return 0
