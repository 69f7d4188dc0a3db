package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
)

// noise is n bytes that compress somehow: runs, repetitions near and far, few or many different bytes.
func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, 0, n+300)
	kinds, alphabet := r.IntN(4), r.IntN(256)+1
	for len(p) < n {
		switch k := r.IntN(4); {
		case k <= kinds && len(p) > 0:
			distance := 1 + r.IntN(min(len(p), 1<<r.IntN(17)))
			for range 1 + r.IntN(1<<r.IntN(9)) {
				p = append(p, p[len(p)-distance])
			}
		default:
			for range 1 + r.IntN(20) {
				p = append(p, byte(r.IntN(alphabet)))
			}
		}
	}
	return p[:n]
}

func TestLevels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		n := i
		if i > 60 {
			n = r.IntN(200_000)
		}
		data := noise(r, n)
		for level := gzip.HuffmanOnly; level <= gzip.BestCompression; level++ {
			if i > 60 && level != i%12-2 {
				continue
			}
			s := sizes[(i+level+2)%len(sizes)]
			check(t, compress(t, data, level), s.in, s.block, s.chunk)
			var b bytes.Buffer
			w, err := kgzip.NewWriterLevel(&b, level)
			must(t, err)
			w.Write(data)
			must(t, w.Close())
			check(t, b.Bytes(), s.in, s.block, s.chunk)
		}
	}
}

// A block of 1 MiB passes several times, and matches reach back over its start.
func TestLarge(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{blockSize - overshoot, blockSize - 1, blockSize, blockSize + 1, 5<<20 + 12345} {
		check(t, compress(t, noise(r, n), 6), inputSize, blockSize, inputSize)
	}
	half := make([]byte, window) // every match is as far back as one may be
	for i := range half {
		half[i] = byte(r.IntN(256))
	}
	check(t, compress(t, bytes.Repeat(half, 100), 9), inputSize, blockSize, 10_000)
}

// streams are the published ones of testdata.
func streams(t testing.TB) (names []string, raw [][]byte, want []string) {
	file, err := os.ReadFile("testdata/streams.txt")
	must(t, err)
	for line := range strings.Lines(string(file)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		p, err := hex.DecodeString(f[1])
		must(t, err)
		if b, count, ok := strings.Cut(f[2], "*"); ok {
			n, err := strconv.Atoi(count)
			must(t, err)
			f[2] = strings.Repeat(b, n)
		}
		names, raw, want = append(names, f[0]), append(raw, p), append(want, f[2])
	}
	return names, raw, want
}

func TestStreams(t *testing.T) {
	names, raw, want := streams(t)
	if len(names) < 50 {
		t.Fatal("testdata is not there")
	}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			result, _ := hex.DecodeString(want[i]) // "fail" is not hexadecimal
			// The fast loop wants input ahead: end with another block that makes it long enough.
			for _, stream := range [][]byte{member(raw[i], result), append(member(raw[i], result), compress(t, make([]byte, 1000), gzip.NoCompression)...)} {
				got, err := io.ReadAll(NewReader(bytes.NewReader(stream)))
				if want[i] == "fail" && err == nil {
					t.Errorf("%x comes out", got)
				}
				if want[i] != "fail" && (err != nil || !bytes.HasPrefix(got, result)) {
					t.Errorf("%x, %v", got, err)
				}
				checkSizes(t, stream)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	text := noise(r, 1500)
	_, raw, _ := streams(t)
	list := [][]byte{compress(t, text, 0), compress(t, text, 1), compress(t, text, 6), compress(t, text, gzip.HuffmanOnly), compress(t, []byte("fixed codes"), 6), withHeader(t, 0x1f)}
	for _, p := range raw {
		list = append(list, member(p, nil))
	}
	for _, stream := range list {
		for n := range stream {
			check(t, stream[:n], inputSize, blockSize, inputSize)
			check(t, stream[:n], 64, 300, 1)
		}
	}
}

// withHeader has the parts that flags say.
func withHeader(t testing.TB, flags byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if flags&flagExtra != 0 {
		w.Extra = bytes.Repeat([]byte("extra"), 200)
	}
	if flags&flagName != 0 {
		w.Name = "näme"
	}
	if flags&flagComment != 0 {
		w.Comment = "comment"
	}
	w.Write([]byte("content"))
	must(t, w.Close())
	p := b.Bytes()
	if flags&flagHeaderSum != 0 {
		p[3] |= flagHeaderSum
		at := 10
		for _, part := range []string{strings.Repeat("extra", 200), "n\xe4me\x00", "comment\x00"} {
			if i := bytes.Index(p, []byte(part)); i > 0 {
				at = i + len(part)
			}
		}
		sum := crc(p[:at])
		p = append(p[:at:at], append([]byte{byte(sum), byte(sum >> 8)}, p[at:]...)...)
	}
	return p
}

func TestHeaders(t *testing.T) {
	for flags := range byte(32) {
		stream := withHeader(t, flags&^1)
		stream[3] |= flags & 1 // FTEXT
		if flags&flagHeaderSum != 0 && flags&1 != 0 {
			continue // the sum is of a header without it
		}
		got, err := io.ReadAll(NewReader(bytes.NewReader(stream)))
		if err != nil || string(got) != "content" {
			t.Errorf("flags %#x: %q, %v", flags, got, err)
		}
		checkSizes(t, stream)
		checkSizes(t, append(stream, stream...))
	}
	for name, edit := range map[string]func(p []byte) []byte{
		"magic":          func(p []byte) []byte { p[0]++; return p },
		"second byte":    func(p []byte) []byte { p[1]++; return p },
		"method":         func(p []byte) []byte { p[2]++; return p },
		"header sum":     func(p []byte) []byte { p[9]++; return p },
		"name":           func(p []byte) []byte { return longName(511) },
		"too long name":  func(p []byte) []byte { return longName(512) },
		"reserved flag":  func(p []byte) []byte { return append([]byte("\x1f\x8b\x08\xe0"), compress(t, []byte("x"), 6)[4:]...) },
		"sum":            func(p []byte) []byte { p[len(p)-8]++; return p },
		"length":         func(p []byte) []byte { p[len(p)-1]++; return p },
		"nothing":        func(p []byte) []byte { return nil },
		"garbage":        func(p []byte) []byte { return []byte("garbage is longer than a header") },
		"less than that": func(p []byte) []byte { return []byte("garbage") },
	} {
		t.Run(name, func(t *testing.T) {
			checkSizes(t, edit(withHeader(t, 0x1e)))
			checkSizes(t, append(compress(t, []byte("first"), 6), edit(withHeader(t, 0x1e))...))
		})
	}
}

func longName(n int) []byte {
	return append(append([]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff"), bytes.Repeat([]byte("n"), n)...), member([]byte("\x00\x03\x00"), nil)[10:]...)
}

func TestMembers(t *testing.T) {
	small, empty := compress(t, []byte("small"), 6), compress(t, nil, 6)
	big := compress(t, noise(rand.New(rand.NewPCG(4, 4)), 300_000), 6)
	zeros := make([]byte, 300_000)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cases := []struct {
		name   string
		stream []byte
		err    error
	}{
		{"one", small, nil},
		{"of nothing", empty, nil},
		{"of nothing, many", bytes.Repeat(empty, 1000), nil},
		{"several", join(small, empty, big, small), nil},
		{"zeros", join(small, zeros[:1]), nil},
		{"many zeros", join(small, zeros), nil},
		{"garbage", join(small, []byte("garbage")), errTrailing},
		{"one byte of garbage", join(small, []byte("g")), errTrailing},
		{"zeros, then garbage", join(small, zeros, []byte("g")), errTrailing},
		{"zeros, then a member", join(small, zeros[:10], small), errTrailing},
		{"half a magic", join(small, []byte("\x1f")), errTrailing},
		{"a magic", join(small, []byte("\x1f\x8b")), io.ErrUnexpectedEOF},
		{"a header", join(small, big[:12]), io.ErrUnexpectedEOF},
		{"another method", join(small, []byte("\x1f\x8b\x07 and more bytes")), gzip.ErrHeader},
		// A match in the second member that reaches into the first.
		{"two windows", join(small, member([]byte("\x63\x00\x02\x00"), nil)), nil},
		{"far", join(big, member(unhex("0cc2010d00000082b0ac4aff0eb07d27060000ffff"), []byte("abcabc"))), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			checkSizes(t, c.stream)
			if _, err := io.ReadAll(NewReader(bytes.NewReader(c.stream))); c.name != "two windows" && err != c.err {
				t.Error(err)
			}
		})
	}
}

func unhex(s string) []byte {
	p, _ := hex.DecodeString(s)
	return p
}

// A distance that reaches before the member's start is refused even when the bytes of another member are there.
func TestTooFar(t *testing.T) {
	first := compress(t, bytes.Repeat([]byte("secret"), 100), 6)
	for distance := 1; distance < 10; distance++ {
		var b bytes.Buffer
		w, err := flate.NewWriterDict(&b, 9, []byte("0123456789abcdef0123456789"))
		must(t, err)
		w.Write([]byte("456789abcdef0123456789"))
		must(t, w.Close())
		stream := append(bytes.Clone(first), member(b.Bytes(), nil)...)
		_, err = io.ReadAll(NewReader(bytes.NewReader(stream)))
		if class(err) != class(flate.CorruptInputError(0)) {
			t.Fatal(err)
		}
		checkSizes(t, append(stream, first...))
	}
}

// An error tells where in the whole stream it was found.
func TestOffset(t *testing.T) {
	for _, before := range []int{0, 10, 300_000} {
		data := noise(rand.New(rand.NewPCG(7, 7)), before)
		stream := append(compress(t, data, 6), member([]byte{7}, nil)...) // block type 3
		at := int64(len(stream) - 8)
		_, err := io.ReadAll(NewReader(bytes.NewReader(stream)))
		if err != flate.CorruptInputError(at) || fmt.Sprint(err) == "" {
			t.Errorf("%v, want it at %d", err, at)
		}
	}
}
