package inflate

import (
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

func crc(p []byte) uint32 { return crc32.ChecksumIEEE(p) }

// bitWriter writes a deflate stream bit by bit.
type bitWriter struct {
	p []byte
	n uint
}

func (w *bitWriter) write(v uint32, n int) {
	for i := range n {
		if w.n%8 == 0 {
			w.p = append(w.p, 0)
		}
		w.p[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
}

// code is a Huffman code: codes[i] is bit-reversed, of lengths[i] bits.
type code struct {
	lengths []uint8
	codes   []uint32
}

// randomCode is a complete code of up to size symbols, those given among them. Real encoders make codes after frequencies; this
// one has the shapes they never make: one long chain, second levels of every size, all symbols alike.
func randomCode(r *rand.Rand, size int, longest int, among ...int) code {
	used := max(2, len(among)+r.IntN(size-len(among)+1))
	leaves := []int{0}
	for len(leaves) < used {
		i := r.IntN(len(leaves))
		if r.IntN(3) == 0 {
			i = len(leaves) - 1
		}
		if leaves[i] == longest {
			if i = r.IntN(len(leaves)); leaves[i] == longest {
				continue
			}
		}
		leaves[i]++
		leaves = append(leaves, leaves[i])
	}
	r.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
	c := code{make([]uint8, size), make([]uint32, size)}
	symbols := append([]int{}, among...)
	for _, s := range r.Perm(size) {
		if !slices.Contains(among, s) {
			symbols = append(symbols, s)
		}
	}
	for i, n := range leaves {
		c.lengths[symbols[i]] = uint8(n)
	}
	c.assign()
	return c
}

// assign gives the codes that RFC 1951, section 3.2.2, says.
func (c *code) assign() {
	next := uint32(0)
	for n := 1; n <= maxCode; n++ {
		next <<= 1
		for s, l := range c.lengths {
			if int(l) == n {
				c.codes[s] = bits.Reverse32(next) >> (32 - n)
				next++
			}
		}
	}
}

func (c *code) put(w *bitWriter, s int) { w.write(c.codes[s], int(c.lengths[s])) }

func (c *code) any(r *rand.Rand, from int) int {
	for {
		if s := from + r.IntN(len(c.lengths)-from); c.lengths[s] > 0 {
			return s
		}
	}
}

// randomStream is a deflate stream of blocks with random codes and random symbols; now and then it is wrong somewhere.
func randomStream(r *rand.Rand) []byte {
	var w bitWriter
	blocks := 1 + r.IntN(4)
	total := 0
	for b := range blocks {
		last := uint32(0)
		if b == blocks-1 {
			last = 1
		}
		w.write(last|2<<1, 3)
		nlit, ndist := 258+r.IntN(29), 2+r.IntN(29)
		lit := randomCode(r, nlit, 9+r.IntN(7), 256, r.IntN(256))
		dist := randomCode(r, ndist, 5+r.IntN(11))
		w.codes(lit, dist)
		for range r.IntN(3000) {
			s := lit.any(r, 0)
			if r.IntN(4) == 0 {
				s = lit.any(r, 256)
			}
			if s == 256 || s > 256 && total == 0 {
				continue
			}
			if s < 256 {
				lit.put(&w, s)
				total++
				continue
			}
			d := dist.any(r, 0)
			extra := max((d-2)/2, 0)
			if base := distanceBase(d); base > total && r.IntN(2000) != 0 {
				continue
			}
			lit.put(&w, s)
			x := 0
			if s >= 265 && s < 285 {
				x = (s - 261) / 4
			}
			w.write(r.Uint32(), x)
			dist.put(&w, d)
			v := uint32(0)
			if distanceBase(d)+1<<extra <= total {
				v = r.Uint32()
			}
			w.write(v, extra)
			total += 3
		}
		lit.put(&w, 256)
	}
	return w.p
}

func distanceBase(d int) int {
	if d < 2 {
		return d + 1
	}
	return (2|d&1)<<(d/2-1) + 1
}

// codes writes the two codes, every length spelled out by 4 bits: lengths 0–15 have one such code each.
func (w *bitWriter) codes(lit, dist code) {
	w.write(uint32(len(lit.lengths)-257), 5)
	w.write(uint32(len(dist.lengths)-1), 5)
	w.write(19-4, 4)
	pre := code{make([]uint8, 19), make([]uint32, 19)}
	for i := range 16 {
		pre.lengths[i] = 4
	}
	pre.assign()
	for _, s := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15} {
		w.write(uint32(pre.lengths[s]), 3)
	}
	for _, c := range []code{lit, dist} {
		for _, n := range c.lengths {
			pre.put(w, int(n))
		}
	}
}

// checkDeflate wraps a deflate stream so that it is right if the standard library takes it.
func checkDeflate(t testing.TB, raw []byte, in, block, chunk int) (accepted bool) {
	t.Helper()
	r := bytes.NewReader(raw)
	out, err := io.ReadAll(flate.NewReader(r))
	if err != nil {
		check(t, member(raw, out), in, block, chunk)
		return false
	}
	used := len(raw) - r.Len()
	stream := member(raw[:used], out)
	check(t, stream, in, block, chunk)
	check(t, append(stream, raw[used:]...), in, block, chunk)
	return true
}

func TestRandomCodes(t *testing.T) {
	accepted := 0
	const n = 1000
	for seed := range uint64(n) {
		s := sizes[seed%uint64(len(sizes))]
		if checkDeflate(t, randomStream(rand.New(rand.NewPCG(seed, 1))), s.in, s.block, s.chunk) {
			accepted++
		}
	}
	if accepted < n/2 || accepted == n {
		t.Errorf("%d of %d streams were right: some should not be", accepted, n)
	}
}
