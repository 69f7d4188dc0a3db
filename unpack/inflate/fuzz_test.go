package inflate

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/flate"
)

// limits turns a fuzzer's number into buffer sizes, the usual ones among them.
func limits(n uint32) (in, block, chunk int) {
	if n%4 == 0 {
		return inputSize, blockSize, inputSize
	}
	return 64 + int(n>>2&0x3ff), overshoot + 1 + int(n>>12&0x7ff), 1 + int(n>>23)
}

func seeds(f *testing.F) (raw [][]byte) {
	r := rand.New(rand.NewPCG(8, 8))
	for i, data := range [][]byte{nil, []byte("hello"), bytes.Repeat([]byte("hello wide world of containers 0123"), 20), noise(r, 3000), noise(r, 40_000)[:5000], make([]byte, 70_000)} {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			if i > 2 && level > 1 && level != 6 {
				continue
			}
			z := compress(f, data, level)
			raw = append(raw, z[10:len(z)-8])
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			must(f, err)
			w.Write(data)
			must(f, w.Close())
			raw = append(raw, b.Bytes())
		}
	}
	_, published, _ := streams(f)
	raw = append(raw, published...)
	for seed := range uint64(20) {
		raw = append(raw, randomStream(rand.New(rand.NewPCG(seed, 2))))
	}
	return raw
}

// FuzzInflate: a deflate stream. Where the standard library takes it, it gets the right checksum, so that acceptance is tested too.
func FuzzInflate(f *testing.F) {
	for i, raw := range seeds(f) {
		f.Add(raw, uint32(i)*0x01234567)
	}
	f.Fuzz(func(t *testing.T, raw []byte, n uint32) {
		in, block, chunk := limits(n)
		checkDeflate(t, raw, in, block, chunk)
	})
}

// FuzzGzip: members, headers, trailers and what is after them.
func FuzzGzip(f *testing.F) {
	small := compress(f, []byte("small"), 6)
	for i, s := range [][]byte{
		small, compress(f, nil, 6), append(bytes.Clone(small), small...), append(bytes.Clone(small), 0, 0, 0), append(bytes.Clone(small), 'x'),
		withHeader(f, 0), withHeader(f, 0x1e), withHeader(f, 0x12), append(withHeader(f, 0x1e), withHeader(f, 0x0a)...), longName(511), longName(512),
		compress(f, bytes.Repeat([]byte("abc"), 1000), gzip.BestSpeed), append(compress(f, make([]byte, 40_000), 0), small...),
	} {
		f.Add(s, uint32(i)*0x01234567)
	}
	f.Fuzz(func(t *testing.T, stream []byte, n uint32) {
		in, block, chunk := limits(n)
		check(t, stream, in, block, chunk)
	})
}

// FuzzCodes: streams of random codes out of a seed, which mutation alone would hardly find. The damage flips bits of them.
func FuzzCodes(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, seed*seed, uint32(seed)*0x01234567)
	}
	f.Fuzz(func(t *testing.T, seed, damage uint64, n uint32) {
		raw := randomStream(rand.New(rand.NewPCG(seed, 3)))
		r := rand.New(rand.NewPCG(damage, 4))
		for range damage % 4 {
			raw[r.IntN(len(raw))] ^= 1 << r.IntN(8)
		}
		in, block, chunk := limits(n)
		checkDeflate(t, raw, in, block, chunk)
	})
}
