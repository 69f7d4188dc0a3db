package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

var (
	// ErrNotACache says that a directory holds something that umiak didn't put
	// there. Nothing in it was touched.
	ErrNotACache = errors.New("not a umiak cache")
	// ErrNewer says that a directory is a cache of a format that came after ours.
	ErrNewer = errors.New("made by a newer umiak")
)

// The marker tells a cache from any other directory. Names like tmp and blobs are
// everybody's: an OCI layout has blobs/sha256 too, and a home directory tmp; what
// lies there must not be taken for garbage. Only a directory that is empty becomes
// a cache.
//
// It's made first, empty, and says the format once the layout is there. Who is
// killed in between leaves a cache to be made, rather than a directory that is
// neither empty nor a cache.
const (
	marker      = "umiak-cache"
	format      = 1
	markerMagic = "umiak cache, format "
)

// recognize finds out whether the directory is a cache of ours. The error wraps
// ErrMissing if it isn't but could become one.
func (c *Cache) recognize() error {
	text, err := c.readMarker()
	if errors.Is(err, fs.ErrNotExist) {
		names, err := c.list(".")
		if err != nil {
			return err
		}
		// A file system of its own has that from the start (mkfs.ext4(8)).
		names = slices.DeleteFunc(names, func(s string) bool { return s == "lost+found" })
		switch {
		case len(names) == 0:
			return fmt.Errorf("%w: the directory is empty", ErrMissing)
		case !slices.Contains(names, marker):
			return fmt.Errorf("%w: %q is there, and no file %q", ErrNotACache, slices.Min(names), marker)
		}
		text, err = c.readMarker() // Made between our two looks.
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return checkMarker(text)
}

func (c *Cache) readMarker() (string, error) {
	f, err := c.root.OpenFile(marker, look, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b [80]byte
	n, err := f.Read(b[:])
	if err == io.EOF {
		err = nil
	}
	return string(b[:n]), err
}

func checkMarker(text string) error {
	if text == "" {
		return fmt.Errorf("%w: it is only being made", ErrMissing)
	}
	rest, ours := strings.CutPrefix(text, markerMagic)
	number, _, whole := strings.Cut(rest, "\n")
	n, err := strconv.ParseUint(number, 10, 32)
	switch {
	case !ours || !whole || err != nil || n == 0:
		return fmt.Errorf("%w: its file %q has %.40q", ErrNotACache, marker, text)
	case n > format:
		return fmt.Errorf("%w: it is of format %d, this umiak knows %d", ErrNewer, n, format)
	}
	return nil
}

// claim makes the directory a cache unless it is one.
func (c *Cache) claim() error {
	err := c.recognize()
	if !errors.Is(err, ErrMissing) {
		return err
	}
	if err := c.mark(""); err != nil {
		return err
	}
	if err := c.layout(); err != nil {
		return err
	}
	if err := c.mark(markerMagic + strconv.Itoa(format) + "\n"); err != nil {
		return err
	}
	return c.syncDir(".")
}

// mark writes the marker. Several processes may do it at once: all write the same,
// in one piece and over whatever the others wrote.
func (c *Cache) mark(text string) error {
	f, err := c.root.OpenFile(marker, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if text != "" {
		if _, err = f.WriteString(text); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}
