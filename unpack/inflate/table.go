package inflate

import "math/bits"

// A table has two levels: the first is indexed by the next litBits or distBits bits of the stream, and a code longer than that
// points on to a second level. Entries are made so that the hot loop does little:
//
//	bits 0–5    how many bits to drop: those of the code and of the extra bits after it
//	bits 8–11   bits of the code alone; of a pointer: the index bits of the second level
//	bit  13     pointer to a second level, which begins at the value
//	bit  14     end of block
//	bit  15     exceptional: one of the two above, or (neither of them) a code that means nothing
//	bits 16–30  value: the literal, the length or distance before adding the extra bits, or where the second level begins
//	bit  31     literal
//
// In a second level the bits of the first are already dropped and do not count.
const (
	litBits  = 11
	distBits = 8
	preBits  = 7

	// The most entries both levels can need is 2342 and 402 (zlib's examples/enough.c: 288 codes in 11 bits, 32 in 8).
	// Powers of two make every index masked by size-1 provably inside.
	litSize  = 4096
	distSize = 512

	dropMask    = 63
	pointer     = 1 << 13
	endOfBlock  = 1 << 14
	exceptional = 1 << 15
	literal     = 1 << 31

	maxCode = 15
	numLit  = 288
	numDist = 32
	numPre  = 19
)

// values are entries without the bits of the code: what each symbol means.
type values struct {
	lit  [numLit]uint32
	dist [numDist]uint32
	pre  [numPre]uint32
}

func (v *values) init() {
	for i := range uint32(256) {
		v.lit[i] = literal | i<<16
	}
	v.lit[256] = exceptional | endOfBlock
	base := uint32(3)
	for i := range uint32(28) {
		extra := max(i/4, 1) - 1
		v.lit[257+i] = base<<16 | extra
		base += 1 << extra
	}
	v.lit[285] = 258 << 16
	v.lit[286], v.lit[287] = exceptional, exceptional
	base = 1
	for i := range uint32(30) {
		extra := max(i/2, 1) - 1
		v.dist[i] = base<<16 | extra
		base += 1 << extra
	}
	v.dist[30], v.dist[31] = exceptional, exceptional
	for i := range v.pre {
		v.pre[i] = uint32(i) << 16
	}
}

// entry completes a value by a code of n bits. Adding n to the whole entry is right: nothing carries out of bits 0–5, as no code
// with its extra bits is longer than 28.
func entry(value uint32, n int) uint32 { return value + uint32(n) | uint32(n)<<8 }

// build makes the table for codes of the given lengths. Its first level has 1<<root entries. It says how many bits a reader must
// have before it looks up a code, and whether the code is acceptable as compress/flate and zlib see it: complete, or without any
// code, or with a single one of one bit. Where there is no code the entry is exceptional and drops nothing.
func build(table []uint32, root int, lengths []uint8, value []uint32) (shortest int, ok bool) {
	var count, next [maxCode + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	longest := maxCode
	for longest > 0 && count[longest] == 0 {
		longest--
	}
	if longest == 0 {
		fill(table[:1<<root], exceptional)
		return 0, true
	}
	left := 1
	for n := 1; n <= longest; n++ {
		left = left<<1 - count[n]
		if left < 0 {
			return 0, false
		}
		if n < maxCode {
			next[n+1] = next[n] + count[n]
		}
		if shortest == 0 && count[n] > 0 {
			shortest = n
		}
	}
	if left > 0 {
		if longest != 1 {
			return 0, false
		}
		fill(table[:1<<root], exceptional)
	}
	// The symbols in the order of their codes.
	var sorted [numLit]uint16
	for s, n := range lengths {
		if n != 0 {
			sorted[next[n]] = uint16(s)
			next[n]++
		}
	}
	if left > 0 {
		for i := 0; i < 1<<root; i += 2 {
			table[i] = entry(value[sorted[0]], 1)
		}
		return shortest, true
	}
	fillLevels(table, root, longest, &count, &sorted, value)
	return shortest, true
}

func fill(table []uint32, e uint32) {
	for i := range table {
		table[i] = e
	}
}

// fillLevels writes the entries of a complete code. The first level begins with one entry and is doubled whenever codes get
// longer by a bit; codes are bit-reversed, so the copy is what the longer index wants.
func fillLevels(table []uint32, root, longest int, count *[maxCode + 1]int, sorted *[numLit]uint16, value []uint32) {
	code, i := 0, 0
	for n := 1; n <= root; n++ {
		for range count[n] {
			table[code] = entry(value[sorted[i]], n)
			i++
			code = increment(code, n)
		}
		if n < root {
			copy(table[1<<n:2<<n], table[:1<<n])
		}
	}
	end := 1 << root // of what is in use
	prefix, start, size := -1, 0, 0
	for n := root + 1; n <= longest; n++ {
		for k := range count[n] {
			if p := code & (1<<root - 1); p != prefix {
				prefix, start = p, end
				size = secondLevel(count, n, count[n]-k, root)
				end += 1 << size
				table[prefix] = exceptional | pointer | uint32(start)<<16 | uint32(size)<<8 | uint32(root)
			}
			e := entry(value[sorted[i]], n-root)
			i++
			for j := code >> root; j < 1<<size; j += 1 << (n - root) {
				table[start+j] = e
			}
			code = increment(code, n)
		}
	}
}

// secondLevel is how many index bits the second level needs that begins with a code of n bits of which `rest` are left.
func secondLevel(count *[maxCode + 1]int, n, rest, root int) int {
	size := n - root
	for space := rest; space < 1<<size; space = space<<1 + count[size+root] {
		size++
	}
	return size
}

// increment adds one to a bit-reversed code of n bits; the last code, all ones, stays.
func increment(code, n int) int {
	top := uint(code ^ (1<<n - 1))
	if top == 0 {
		return code
	}
	b := 1 << (bits.Len(top) - 1)
	return code&(b-1) | b
}
