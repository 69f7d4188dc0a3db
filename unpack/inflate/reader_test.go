package inflate

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReaders(t *testing.T) {
	data := noise(rand.New(rand.NewPCG(5, 5)), 100_000)
	stream := append(compress(t, data, 6), compress(t, data, 0)...)
	data = append(data, data...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"one byte":      iotest.OneByteReader,
		"half":          iotest.HalfReader,
		"data and EOF":  iotest.DataErrReader,
		"nothing often": func(r io.Reader) io.Reader { return &idle{r: r} },
	} {
		got, err := io.ReadAll(NewReader(wrap(bytes.NewReader(stream))))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	must(t, iotest.TestReader(NewReader(bytes.NewReader(stream)), data))
	if _, err := io.ReadAll(NewReader(stuck{})); err != io.ErrNoProgress {
		t.Error(err)
	}
	broken := errors.New("network went away")
	for keep := range len(stream) {
		if keep > 100 && keep < len(stream)-100 && keep%997 != 0 {
			continue
		}
		got, err := io.ReadAll(NewReader(io.MultiReader(bytes.NewReader(stream[:keep]), iotest.ErrReader(broken))))
		want, _, _ := reference(stream[:keep])
		if err != broken || !bytes.Equal(got, want) {
			t.Fatalf("after %d bytes: %d bytes, %v", keep, len(got), err)
		}
	}
	for _, after := range []string{"", "\x1f", "\x1f\x8b", "\x00", "\x00\x00\x00"} {
		got, err := io.ReadAll(NewReader(io.MultiReader(bytes.NewReader(stream), strings.NewReader(after), iotest.ErrReader(broken))))
		if err != broken || !bytes.Equal(got, data) {
			t.Fatalf("%q: %d bytes, %v", after, len(got), err)
		}
	}
}

// idle gives nothing most of the time, which io.Reader allows.
type idle struct {
	r    io.Reader
	turn int
}

func (i *idle) Read(p []byte) (int, error) {
	if i.turn++; i.turn%50 != 0 {
		return 0, nil
	}
	return i.r.Read(p[:min(len(p), 100)])
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestBlocks(t *testing.T) {
	data := noise(rand.New(rand.NewPCG(6, 6)), 7<<20)
	stream := compress(t, data, 1)
	z := NewReader(bytes.NewReader(stream))
	var blocks [10]Block
	var parts [][]byte
	var got int
	first := make([]byte, 1000)
	_, err := io.ReadFull(z, first) // what Read has begun, Fill goes on with
	must(t, err)
	got += len(first)
	for i := range blocks {
		p, err := z.Fill(&blocks[i])
		if err == io.EOF {
			break
		}
		must(t, err)
		if len(p) == 0 || len(p) > blockSize {
			t.Fatal("a block of ", len(p))
		}
		parts = append(parts, p)
		got += len(p)
		if i > 0 { // the Reader needs none of the blocks it has filled
			clear(blocks[i-1].buf[:window])
		}
	}
	if got != len(data) || !bytes.Equal(append(first, bytes.Join(parts, nil)...), data) {
		t.Fatalf("%d bytes of %d", got, len(data))
	}
	if _, err := z.Fill(&blocks[0]); err != io.EOF {
		t.Fatal(err)
	}

	var out bytes.Buffer
	z = NewReader(bytes.NewReader(stream))
	_, err = io.ReadFull(z, first)
	must(t, err)
	n, err := z.WriteTo(&out)
	must(t, err)
	if n != int64(len(data)-1000) || !bytes.Equal(out.Bytes(), data[1000:]) {
		t.Fatal(n)
	}
	if _, err := NewReader(bytes.NewReader(stream)).WriteTo(short{}); err != io.ErrShortWrite {
		t.Fatal(err)
	}
	if _, err := NewReader(bytes.NewReader(stream[:len(stream)-1])).WriteTo(io.Discard); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) - 1, nil }

// What a stream says cannot make a Reader take memory.
func TestMemory(t *testing.T) {
	bomb := compress(t, make([]byte, 64<<20), 9)
	names := bytes.Repeat(longName(500), 1000)
	for name, stream := range map[string][]byte{"zeros": bytes.Repeat(bomb, 4), "headers": names, "empty blocks": member(append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 1<<20), 3, 0), nil)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		z := NewReader(bytes.NewReader(stream))
		var n int64
		for {
			p, err := z.Next()
			n += int64(len(p))
			if err == io.EOF {
				break
			}
			must(t, err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
			t.Errorf("%s: %d bytes for %d decompressed", name, used, n)
		}
	}
}
