package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"sync"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reference is what the standard library makes of a stream, member by member, and of what follows; used is how much it took.
func reference(stream []byte) (out []byte, used int, err error) {
	in := bytes.NewReader(stream)
	at := func() int { return len(stream) - in.Len() }
	z, err := gzip.NewReader(in)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // an empty stream
	}
	for err == nil {
		z.Multistream(false)
		part, e := io.ReadAll(z)
		if out = append(out, part...); e != nil {
			return out, at(), e
		}
		rest := stream[at():]
		if !bytes.HasPrefix(rest, []byte("\x1f\x8b")) {
			zeros := len(rest) - len(bytes.TrimLeft(rest, "\x00"))
			if zeros < len(rest) {
				return out, at() + zeros, errTrailing
			}
			return out, len(stream), nil
		}
		err = z.Reset(in)
	}
	return out, at(), err
}

// class is the kind of an error: what a caller could tell apart.
func class(err error) error {
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return flate.CorruptInputError(0)
	}
	return err
}

// member wraps a deflate stream, which decompresses to out.
func member(deflated, out []byte) []byte {
	p := append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), deflated...)
	p = binary.LittleEndian.AppendUint32(p, crc32.ChecksumIEEE(out))
	return binary.LittleEndian.AppendUint32(p, uint32(len(out)))
}

func compress(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	must(t, err)
	_, err = w.Write(data)
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

var readers = sync.Pool{New: func() any { return &Reader{input: input{in: new([inputSize]byte)}, own: Block{new(memory)}} }}

// recycle is newReader with memory that is full of other tests' bytes, which also saves clearing a mebibyte for each.
func recycle(r io.Reader, in, block int) *Reader {
	z := readers.Get().(*Reader)
	*z = Reader{blockRoom: block, own: z.own, input: input{r: r, in: z.in, inRoom: in}}
	z.values.init()
	return z
}

// chunks gives at most n bytes a time.
type chunks struct {
	r io.Reader
	n int
}

func (c chunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

// sizes are buffers and reads so small that every edge is met often, and so large that none is.
var sizes = []struct{ in, block, chunk int }{
	{inputSize, blockSize, inputSize},
	{64, 512, 1},
	{64, 300, 64},
	{100, 5000, 7},
	{5000, 40000, 4096},
}

// check holds the Reader against the standard library: output, kind of error, and how much was used.
func check(t testing.TB, stream []byte, in, block, chunk int) {
	t.Helper()
	want, used, wantErr := reference(stream)
	z := recycle(chunks{bytes.NewReader(stream), chunk}, in, block)
	defer readers.Put(z)
	got, err := io.ReadAll(z)
	if class(err) != class(wantErr) {
		t.Fatalf("buffers %d and %d, reads of %d: error %v, want %v\n%x", in, block, chunk, err, wantErr, head(stream))
	}
	if !bytes.Equal(got, want) {
		n := 0
		for n < min(len(got), len(want)) && got[n] == want[n] {
			n++
		}
		t.Fatalf("buffers %d and %d, reads of %d: %d bytes, want %d; they differ at %d (%v)\n%x", in, block, chunk, len(got), len(want), n, err, head(stream))
	}
	if (err == nil || err == errTrailing) && z.offset() != int64(used) {
		t.Fatalf("used %d bytes, want %d\n%x", z.offset(), used, head(stream))
	}
	if _, again := z.Next(); again != err && (err != nil || again != io.EOF) {
		t.Fatalf("error %v, then %v", err, again)
	}
}

func head(p []byte) []byte { return p[:min(len(p), 200)] }

func checkSizes(t testing.TB, stream []byte) {
	t.Helper()
	for _, s := range sizes {
		check(t, stream, s.in, s.block, s.chunk)
	}
}
