package unpack

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow is the history a zstd stream may ask us to keep in memory: zstd(1)'s own default limit (2^27), above what any
// level but --ultra --long asks for.
const maxZstdWindow = 128 << 20

// Decompress tells gzip, zstd and plain tar apart by their first bytes, as media types are often wrong, and gives what is inside.
// Streams of several gzip members or zstd frames are one, as pigz, eStargz and zstd:chunked make them. Nothing is ever
// run to decompress (CVE-2026-41567). Closing the result does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch format := sniff(head); format {
	case "":
		return io.NopCloser(br), nil
	case "gzip":
		return newGunzip(br)
	case "zstd":
		d, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	default:
		return nil, fmt.Errorf("the layer is compressed with %s; layers are gzip, zstd or not compressed", format)
	}
}

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

func newGunzip(in *bufio.Reader) (io.ReadCloser, error) {
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

// Close has nothing to release; the library's would only repeat the last error.
func (g *gunzip) Close() error { return nil }
