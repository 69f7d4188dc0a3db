// Package inflate decompresses gzip more than twice as fast as the libraries at hand; that is most of what unpacking an image costs.
//
// It takes and refuses exactly what compress/gzip does (and gives that package's errors, and compress/flate's), with two
// differences that layers need: zeros after the last member are padding, and an empty stream is an error. Output is only to be
// trusted once io.EOF has come, as the checksum stands at the end. Memory is a fixed amount per Reader and Block whatever the
// stream says.
package inflate

import (
	"errors"
	"hash/crc32"
	"io"
)

const (
	window    = 32 << 10  // how far back a match may reach
	blockSize = 1 << 20   // the most that Fill gives at once
	inputSize = 128 << 10 // the most that is read at once

	overshoot = 2 + 258 // what may be decoded at once: two literals and a match
	slack     = 64      // how far the fast loop, which copies whole words, may write beyond what it decodes
	blockEnd  = window + blockSize - overshoot
)

var (
	errTrailing = errors.New("gzip: data after the end of the stream")
	errRange    = errors.New("inflate: internal error: limits beyond the buffers")
)

// memory is the end of what was decompressed before a block, the block, and slack. Its size is constant so that the compiler can
// prove accesses to be inside.
type memory [window + blockSize + slack]byte

// A Block is memory to decompress into. The zero value is ready to use; the memory is allocated when it first is.
type Block struct{ buf *memory }

// A Reader decompresses a stream of gzip members.
type Reader struct {
	input
	table

	state  state
	last   bool // the deflate block being read is the member's last one
	stored int  // bytes still to come of a stored block

	// Decompressed bytes go to out[op:limit] and may pass limit by less than overshoot. Matches reach back to out[base].
	out       *memory
	op, limit int
	base      int
	blockRoom int // how much of a block to use

	history [window]byte // the end of what was decompressed before this block: its last held bytes
	held    int

	summed int // out up to here is in sum and length
	sum    uint32
	length uint32

	err  error // once there is one, for good
	own  Block
	rest []byte // of own, for Read

	lengths [numLit + numDist]uint8
	precode [1 << preBits]uint32
	values  values
}

// table is what the codes of a deflate block mean.
type table struct {
	lit   [litSize]uint32
	dist  [distSize]uint32
	fixed bool // these are the fixed codes

	// A code is looked up only once that many bits are there, as compress/flate does: what comes out before an unexpected end
	// is then the same.
	litMin, distMin uint
}

// NewReader returns a Reader of r. It may read r beyond the end of the gzip stream.
func NewReader(r io.Reader) *Reader { return newReader(r, inputSize, blockSize) }

// newReader is given how much of its memory to use.
func newReader(r io.Reader, in, block int) *Reader {
	z := &Reader{blockRoom: block, input: input{r: r, in: new([inputSize]byte), inRoom: in}}
	z.values.init()
	return z
}

// Fill decompresses the next part of the stream, at most 1 MiB, into b and returns it; when err is nil it is not empty. It stays
// valid until b is filled again: with several blocks one can be filled while others are in use. What was decompressed before an
// error is returned first.
func (z *Reader) Fill(b *Block) ([]byte, error) {
	if len(z.rest) == 0 && z.err != nil {
		return nil, z.err
	}
	if b.buf == nil {
		b.buf = new(memory)
	}
	if len(z.rest) > 0 { // Read has begun it
		n := copy(b.buf[window:], z.rest)
		z.rest = nil
		return b.buf[window : window+n], nil
	}
	z.out = b.buf
	z.base = window - z.held
	copy(z.out[z.base:window], z.history[z.base:])
	z.op, z.summed = window, window
	z.limit = window + z.blockRoom - overshoot
	z.err = z.decode()
	z.checksum()
	// The block's next owner may be another Reader: keep nothing in it.
	p := z.out[window:z.op]
	z.held = min(window, z.op-z.base)
	copy(z.history[window-z.held:], z.out[z.op-z.held:z.op])
	z.out = nil
	if len(p) == 0 {
		return nil, z.err
	}
	return p, nil
}

// Next is Fill with a block of the Reader's own: what it returns is valid until the next call of any method.
func (z *Reader) Next() ([]byte, error) { return z.Fill(&z.own) }

// Read is for those who want the bytes copied into memory of their own.
func (z *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(z.rest) == 0 {
		block, err := z.Next()
		if err != nil {
			return 0, err
		}
		z.rest = block
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// WriteTo writes block after block to w.
func (z *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		p, err := z.Next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

// checksum takes in what has been decompressed of the member.
func (z *Reader) checksum() {
	p := z.out[z.summed:z.op]
	z.sum = crc32.Update(z.sum, crc32.IEEETable, p)
	z.length += uint32(len(p))
	z.summed = z.op
}

// state is what comes next in the stream.
type state int

const (
	memberHeader state = iota
	blockHeader
	storedBytes
	symbols
	memberTrailer
	nextMember
)

// decode goes on until the block is full or there is an error.
func (z *Reader) decode() error {
	for z.op < z.limit {
		var err error
		switch z.state {
		case memberHeader:
			err = z.memberHeader()
		case blockHeader:
			err = z.blockHeader()
		case storedBytes:
			err = z.storedBytes()
		case symbols:
			err = z.symbols()
		case memberTrailer:
			err = z.memberTrailer()
		case nextMember:
			err = z.nextMember()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
