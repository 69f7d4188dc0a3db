package inflate

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// Flags of RFC 1952, section 2.3.1. FTEXT means nothing here, and the reserved ones are ignored as compress/gzip ignores them.
const (
	flagHeaderSum = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4

	maxString = 512 // with its zero: compress/gzip's limit for name and comment
)

func (z *Reader) memberHeader() error {
	var h header
	fixed := make([]byte, 10)
	if err := h.full(z, fixed); err != nil {
		return err
	}
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 {
		return gzip.ErrHeader
	}
	flags := fixed[3]
	if flags&flagExtra != 0 {
		if err := h.extra(z); err != nil {
			return err
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag != 0 {
			if err := h.string(z); err != nil {
				return err
			}
		}
	}
	if flags&flagHeaderSum != 0 {
		want := uint16(h.sum)
		if err := h.full(z, fixed[:2]); err != nil {
			return err
		}
		if binary.LittleEndian.Uint16(fixed) != want {
			return gzip.ErrHeader
		}
	}
	z.sum, z.length, z.summed = 0, 0, z.op
	z.base = z.op
	z.state = blockHeader
	return nil
}

// header keeps the checksum of what is read of a header.
type header struct{ sum uint32 }

func (h *header) full(z *Reader, p []byte) error {
	err := z.full(p)
	h.sum = crc32.Update(h.sum, crc32.IEEETable, p)
	return err
}

func (h *header) extra(z *Reader) error {
	var p [256]byte
	if err := h.full(z, p[:2]); err != nil {
		return err
	}
	for left := int(binary.LittleEndian.Uint16(p[:])); left > 0; left -= len(p) {
		if err := h.full(z, p[:min(left, len(p))]); err != nil {
			return err
		}
	}
	return nil
}

func (h *header) string(z *Reader) error {
	var c [1]byte
	for range maxString {
		if err := h.full(z, c[:]); err != nil {
			return err
		}
		if c[0] == 0 {
			return nil
		}
	}
	return gzip.ErrHeader
}

func (z *Reader) memberTrailer() error {
	z.align()
	z.checksum()
	var p [8]byte
	if err := z.full(p[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(p[:]) != z.sum || binary.LittleEndian.Uint32(p[4:]) != z.length {
		return gzip.ErrChecksum
	}
	z.state = nextMember
	return nil
}

// nextMember finds another member, or the end: maybe zeros that some writers pad with, and nothing else.
func (z *Reader) nextMember() error {
	z.fill(2)
	rest := z.in[z.pos:z.end]
	if len(rest) >= 2 && rest[0] == 0x1f && rest[1] == 0x8b {
		z.state = memberHeader
		return nil
	}
	if len(rest) < 2 && z.readErr != io.EOF {
		return z.readErr
	}
	for {
		rest = bytes.TrimLeft(rest, "\x00")
		z.pos = z.end - len(rest)
		if len(rest) > 0 {
			return errTrailing
		}
		if z.fill(1); z.pos == z.end {
			return z.readErr
		}
		rest = z.in[z.pos:z.end]
	}
}
