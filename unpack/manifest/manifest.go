// Package manifest writes down what a directory tree consists of, and finds out
// later what has changed.
//
// It promises that every change is found which a program in the tree could see:
// of names, types, modes, owners, contents, targets of links, extended attributes,
// times of modification, device numbers, and of which names are one file. Two trees
// have the same manifest if and only if they are the same in all that. It promises
// to follow no link, since the tree is walked by descriptors, and to change nothing,
// but for the time at which a symbolic link was last read.
//
// Left out are inode numbers, times of access and of change, and the security
// labels that a host gives to all files (security.* but for security.capability):
// they are no part of an image and change by themselves.
//
// # Format
//
// A manifest is text:
//
//	umiak tree manifest 1
//	/ d 0755 0:0 1709208000.000000000
//	/bin/su f 4755 0:0 1709208000.000000000 size=5 sha256=2cf24dba…
//	/dev/null c 0666 0:0 1709208000.000000000 rdev=1:3
//	/sh l 0777 0:0 1709208000.000000000 target=bin/sh
//	/zz f 4755 0:0 1709208000.000000000 size=5 sha256=2cf24dba… link=/bin/su
//	end sha256:…
//
// There is a line for each name, the root first: its path, then its type (f file,
// d directory, l symbolic link, c and b devices, p fifo, s socket), the mode's
// lower twelve bits in octal, owner and group, and the time of modification in
// seconds and nanoseconds. What follows depends on the type, and is in this order:
// size and sha256 of a file, target of a link, rdev of a device; link is the first
// name of a file that has several in the tree; xattr.NAME is an extended attribute,
// by name, its value in hexadecimal, or "sha256:" and a hash if it has more than 64
// bytes.
//
// Lines are sorted by path as a walk meets them: names of one directory in the order
// of their bytes, what is in a directory right after it. In paths, targets and names
// of attributes every byte that isn't printable ASCII is \xHH, as are the space and
// the backslash, and the equals sign in names of attributes. Nothing can be written
// in two ways. The last line has the sha256 of all before it.
package manifest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

const (
	header  = "umiak tree manifest 1\n"
	trailer = "end sha256:"
)

// maxLine bounds memory: a path and a target of 4095 bytes, each of them escaped,
// and as many attributes as listxattr(2) can list, in 64 KiB.
const maxLine = 4 << 20

// ErrDamaged says that a manifest isn't one that Write wrote.
var ErrDamaged = errors.New("the manifest is damaged")

// Write walks the tree in root and writes its manifest. It returns the manifest's
// sum, "sha256:" and the hash that is in its last line, which names the tree.
func Write(ctx context.Context, root *os.File, w io.Writer) (sum string, err error) {
	out := bufio.NewWriterSize(w, 64<<10)
	h := sha256.New()
	var line []byte
	write := func() error {
		h.Write(line)
		_, err := out.Write(line)
		return err
	}
	line = append(line, header...)
	if err := write(); err != nil {
		return "", err
	}
	err = walk(ctx, root, func(e *entry) error {
		line = append(e.append(line[:0]), '\n')
		return write()
	})
	if err != nil {
		return "", err
	}
	sum = "sha256:" + hex.EncodeToString(h.Sum(nil))
	if _, err := out.WriteString("end " + sum + "\n"); err != nil {
		return "", err
	}
	return sum, out.Flush()
}

// reader reads entries one by one. At the end, next returns nil.
type reader struct {
	scan *bufio.Scanner
	hash hash.Hash
	last string // path
	sum  string
}

func newReader(r io.Reader) *reader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	s.Split(lines)
	return &reader{scan: s, hash: sha256.New()}
}

// lines is bufio.ScanLines but keeps the line's end, whose lack is damage too.
func lines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, errors.New("the last line is cut")
	}
	return 0, nil, nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

func (r *reader) line() ([]byte, error) {
	if r.scan.Scan() {
		return r.scan.Bytes(), nil
	}
	if err := r.scan.Err(); err != nil {
		return nil, damaged("%w", err)
	}
	return nil, damaged("it ends too early")
}

func (r *reader) next() (*entry, error) {
	if r.last == "" {
		b, err := r.line()
		if err != nil {
			return nil, err
		}
		if string(b) != header {
			return nil, damaged("it is of another version, or no manifest")
		}
		r.hash.Write(b)
	}
	b, err := r.line()
	if err != nil {
		return nil, err
	}
	if sum, ok := bytes.CutPrefix(b, []byte(trailer)); ok && r.last != "" {
		return nil, r.end(string(bytes.TrimSuffix(sum, []byte("\n"))))
	}
	r.hash.Write(b)
	e, err := parse(string(b[:len(b)-1]))
	if err != nil {
		return nil, damaged("%w", err)
	}
	switch {
	case r.last == "" && (e.path != "/" || e.typ != 'd'):
		return nil, damaged("it does not begin with the root")
	case r.last != "" && compare(r.last, e.path) >= 0:
		return nil, damaged("%q is not in its place", e.path)
	}
	r.last = e.path
	return e, nil
}

func (r *reader) end(want string) error {
	if r.sum = hex.EncodeToString(r.hash.Sum(nil)); r.sum != want {
		return damaged("its hash is %s, not %s", r.sum, want)
	}
	if r.scan.Scan() || r.scan.Err() != nil {
		return damaged("something follows its end")
	}
	return nil
}

// Check reads a manifest to its end and returns its sum. The error wraps ErrDamaged
// if it is not as Write wrote it.
func Check(m io.Reader) (sum string, err error) {
	r := newReader(m)
	for {
		e, err := r.next()
		if err != nil {
			return "", err
		}
		if e == nil {
			return "sha256:" + r.sum, nil
		}
	}
}
