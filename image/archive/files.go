package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

var errNotRegular = errors.New("not a regular file")

// dir is a layout in a directory. os.Root keeps every name, and every link on its
// way, beneath it.
type dir struct{ root *os.Root }

func openDir(path string) (files, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return dir{root}, nil
}

func (d dir) Close() error { return d.root.Close() }

func (d dir) open(name string) (io.ReadCloser, int64, error) {
	// To open a device may act on it, so it is looked at first. Between the two
	// looks it may be exchanged; then O_NONBLOCK keeps a fifo from holding us up.
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, 0, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// maxFiles is how many files a tar may have: memory. A layout has one a layer.
const maxFiles = 1 << 16

// tarred is a layout in a tar, which is read where it lies.
type tarred struct {
	f     *os.File
	parts map[string]part
}

type part struct{ offset, size int64 }

func openTar(name string) (files, error) {
	f, err := regular(name)
	if err != nil {
		return nil, err
	}
	t := &tarred{f: f, parts: make(map[string]part)}
	if err := t.index(); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

// regular opens a regular file; anywhere, for its path is the user's own.
func regular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%w, nor a directory", errNotRegular))
	}
	return f, nil
}

// index notes where each file is. Of several with one name the last counts, as if
// they had been extracted.
func (t *tarred) index() error {
	var head [4]byte
	if _, err := t.f.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return err
	}
	if bytes.HasPrefix(head[:], []byte("\x1f\x8b")) || string(head[:]) == "\x28\xb5\x2f\xfd" {
		return fmt.Errorf("%w: it is compressed as a whole; decompress it first", ErrNotALayout)
	}
	for r := tar.NewReader(t.f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w, nor a tar of one: %w", ErrNotALayout, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if len(t.parts) == maxFiles {
			return fmt.Errorf("it has more than %d files", maxFiles)
		}
		// The reader reads no further than it must: this is where the contents
		// begin. A sparse file's would be a map first, which no digest matches.
		at, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		t.parts[strings.TrimPrefix(path.Clean("/"+h.Name), "/")] = part{at, h.Size}
	}
}

func (t *tarred) Close() error { return t.f.Close() }

func (t *tarred) open(name string) (io.ReadCloser, int64, error) {
	p, ok := t.parts[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(t.f, p.offset, p.size)), p.size, nil
}
