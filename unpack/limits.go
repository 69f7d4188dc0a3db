package unpack

import (
	"archive/tar"
	"io"
	"strings"
)

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		field *int64
		value int64
	}{
		{&o.MaxEntries, 2 << 20},
		{&o.MaxBytes, 256 << 30},
		{&o.MaxPath, 4095},
		{&o.MaxDepth, 512},
		{&o.MaxXattrBytes, 64 << 20},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return o
}

// limits counts what an image has cost so far. The counts go over all layers: a bomb in ten parts is one, too.
type limits struct {
	Options
	entries, content, stream, xattrs int64
}

// entry counts one, with its contents as declared: nothing is read or allocated for a claim that is too high.
func (l *limits) entry(h *tar.Header) error {
	l.entries++
	if l.entries > l.MaxEntries {
		return &LimitError{"MaxEntries", "entries", l.MaxEntries}
	}
	if h.Size > l.MaxBytes-l.content { // not a sum, which could overflow
		return &LimitError{"MaxBytes", "bytes in files", l.MaxBytes}
	}
	l.content += max(h.Size, 0)
	return l.path(h.Name)
}

func (l *limits) path(name string) error {
	if err := l.target(name); err != nil {
		return err
	}
	if int64(strings.Count(name, "/")) > l.MaxDepth {
		return &LimitError{"MaxDepth", "directories in a path", l.MaxDepth}
	}
	return nil
}

// target is path without a limit on depth, for the text of symbolic links.
func (l *limits) target(name string) error {
	if int64(len(name)) > l.MaxPath {
		return &LimitError{"MaxPath", "bytes in a path", l.MaxPath}
	}
	return nil
}

func (l *limits) xattr(name, value string) error {
	l.xattrs += int64(len(name) + len(value))
	if l.xattrs > l.MaxXattrBytes {
		return &LimitError{"MaxXattrBytes", "bytes of extended attributes", l.MaxXattrBytes}
	}
	return nil
}

// reader counts the stream, padding and headers included: a megabyte of gzip can hold a gigabyte of zeros after the archive's end.
func (l *limits) reader(r io.Reader) io.Reader { return &limitedReader{r, l} }

type limitedReader struct {
	r io.Reader
	l *limits
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.l.stream += int64(n)
	if r.l.stream > r.l.MaxBytes {
		return 0, &LimitError{"MaxBytes", "bytes in layers", r.l.MaxBytes}
	}
	return n, err
}
