package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/umiak/umiak/unpack/inflate"
)

// maxZstdWindow is the history a zstd stream may ask us to keep in memory: zstd(1)'s own default limit (2^27), above what any
// level but --ultra --long asks for.
const maxZstdWindow = 128 << 20

// Decompress tells gzip, zstd and plain tar apart by their first bytes, as media types are often wrong, and gives what is inside.
// Streams of several gzip members or zstd frames are one, as pigz, eStargz and zstd:chunked make them. Nothing is ever
// run to decompress (CVE-2026-41567). Closing the result does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	d, err := newDecoder(r, false)
	if err != nil {
		return nil, err
	}
	return readCloser{d}, nil
}

type readCloser struct{ *decoder }

func (r readCloser) Close() error {
	r.close()
	return nil
}

// decoder is any of the decompressors.
type decoder struct {
	io.Reader
	inflate *inflate.Reader // it, too, if it is our own
	close   func()
}

// newDecoder decompresses gzip with the library if asked to, else with package inflate.
func newDecoder(r io.Reader, library bool) (*decoder, error) {
	head := bufio.NewReaderSize(r, sniffed) // not larger: reads that are go through it without a copy
	magic, err := head.Peek(sniffed)
	if err != nil && err != io.EOF {
		return nil, err
	}
	nothing := func() {}
	switch format := sniff(magic); {
	case format == "":
		return &decoder{head, nil, nothing}, nil
	case format == "gzip" && library:
		z, err := newGunzip(bufio.NewReaderSize(head, 256<<10))
		if err != nil {
			return nil, err
		}
		return &decoder{z, nil, nothing}, nil
	case format == "gzip":
		z := inflate.NewReader(head)
		return &decoder{z, z, nothing}, nil
	case format == "zstd":
		z, err := zstd.NewReader(bufio.NewReaderSize(head, 256<<10), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return &decoder{z, nil, z.Close}, nil
	default:
		return nil, fmt.Errorf("the layer is compressed with %s; layers are gzip, zstd or not compressed", format)
	}
}

// fill decompresses the next part of the stream into b. What was right comes along with an error.
func (d *decoder) fill(b *block) ([]byte, error) {
	if d.inflate != nil {
		return d.inflate.Fill(&b.inflate)
	}
	if b.plain == nil {
		b.plain = make([]byte, blockSize)
	}
	// Not io.ReadFull: io.ErrUnexpectedEOF from a cut stream must not look like its end.
	n, err := 0, error(nil)
	for n < len(b.plain) && err == nil {
		var k int
		k, err = d.Read(b.plain[n:])
		n += k
	}
	return b.plain[:n], err
}

// sniffed is as much as sniff looks at.
const sniffed = 512

// sniff names the compression; "" is none.
func sniff(head []byte) string {
	if len(head) >= 262 && string(head[257:262]) == "ustar" {
		return "" // whatever its first file is called
	}
	for _, f := range []struct{ magic, name string }{
		{"\x1f\x8b", "gzip"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\xfd7zXZ\x00", "xz"},
		{"\x04\x22\x4d\x18", "lz4"},
		{"LZIP", "lzip"},
		{"\x1f\x9d", "compress"},
		{"\x5d\x00\x00", "lzma"},
	} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.name
		}
	}
	if len(head) >= 10 && string(head[:3]) == "BZh" && string(head[4:10]) == "1AY&SY" { // the digits of pi
		return "bzip2"
	}
	// A skippable frame may come first: 0x184D2A50 to 5F, little endian.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return "zstd"
	}
	return ""
}

var errTrailing = errors.New("gzip: data after the end of the stream")

// gunzip joins the members of a gzip stream itself: the library would refuse the zeros that some writers pad with.
type gunzip struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func newGunzip(in *bufio.Reader) (io.Reader, error) {
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return &gunzip{in, z}, nil
}

func (g *gunzip) Read(p []byte) (int, error) {
	for {
		n, err := g.z.Read(p)
		if n > 0 && err == io.EOF {
			err = nil // the next call finds the end again
		}
		if n > 0 || err != io.EOF {
			return n, err
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next goes on to another member; io.EOF when there is none.
func (g *gunzip) next() error {
	head, err := g.in.Peek(2)
	if len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		if err := g.z.Reset(g.in); err != nil {
			return err
		}
		g.z.Multistream(false)
		return nil
	}
	if err != nil && err != io.EOF {
		return err
	}
	for {
		b, err := g.in.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return errTrailing
		}
	}
}
