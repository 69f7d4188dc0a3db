package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/umiak/umiak/cache/digest"
)

const refMagic = "umiak ref 1 "

// maxRef bounds what is read as a reference. Manifests and configs may have
// 4 MiB each by the distribution specification; nothing comes near.
const maxRef = 32 << 20

// Ref is a name and what it stands for.
type Ref struct {
	Name string
	Data []byte
	Time time.Time // When it was last set.
}

// SetRef makes name stand for data, instead of whatever it stood for. Readers
// see the old data or the new.
func (c *Cache) SetRef(name string, data []byte) error {
	err := c.setRef(name, data)
	if err != nil {
		return fmt.Errorf("setting reference %q in %s: %w", name, c.path, err)
	}
	return nil
}

func (c *Cache) setRef(name string, data []byte) error {
	if err := c.prepare(); err != nil {
		return err
	}
	t, err := c.temp()
	if err != nil {
		return err
	}
	defer t.remove()
	f, err := c.root.OpenFile(t.path("ref"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeRef(name, data))
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return c.commit(t.path("ref"), refPath(name), 0)
}

// Ref is what name stands for.
func (c *Cache) Ref(name string) ([]byte, error) {
	ref, err := c.readRef(refPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reference %q: %w", name, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading reference %q in %s: %w", name, c.path, err)
	}
	return ref.Data, nil
}

// DeleteRef makes name stand for nothing. A damaged reference can be deleted
// too.
func (c *Cache) DeleteRef(name string) error {
	err := c.root.Remove(refPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reference %q: %w", name, ErrMissing)
	}
	if err == nil {
		err = c.syncDir(refsDir)
	}
	if err != nil {
		return fmt.Errorf("deleting reference %q in %s: %w", name, c.path, err)
	}
	return nil
}

// Refs lists the references by name. Damaged ones, and those deleted meanwhile,
// are left out.
func (c *Cache) Refs() ([]Ref, error) {
	names, err := c.list(refsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing references in %s: %w", c.path, err)
	}
	var refs []Ref
	for _, base := range names {
		ref, err := c.readRef(refsDir + "/" + base)
		switch {
		case errors.Is(err, ErrMissing), errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil: // Not to be taken for damage: Collect would act on it.
			return nil, fmt.Errorf("listing references in %s: %w", c.path, err)
		}
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
	return refs, nil
}

// readRef reads the reference at path. The error wraps ErrMissing if the file is
// damaged.
func (c *Cache) readRef(path string) (Ref, error) {
	f, err := c.open(path)
	if err != nil {
		return Ref{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Ref{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRef {
		return Ref{}, fmt.Errorf("%w: %s is not a reference", ErrMissing, path)
	}
	// One read, for a byte more than there should be, finds the end at once.
	text := make([]byte, info.Size()+1)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return Ref{}, err
	}
	name, data, err := decodeRef(text[:n])
	if err == nil && refPath(name) != path {
		err = fmt.Errorf("it is of %q", name)
	}
	if err != nil {
		return Ref{}, fmt.Errorf("%w: %s is damaged: %w", ErrMissing, path, err)
	}
	return Ref{Name: name, Data: data, Time: info.ModTime()}, nil
}

func encodeRef(name string, data []byte) []byte {
	body := append(strconv.AppendQuote(nil, name), '\n')
	body = append(body, data...)
	return append([]byte(refMagic+digest.FromBytes(body).String()+"\n"), body...)
}

func decodeRef(text []byte) (name string, data []byte, err error) {
	head, body, ok := bytes.Cut(text, []byte("\n"))
	sum, magic := bytes.CutPrefix(head, []byte(refMagic))
	if !ok || !magic {
		return "", nil, errors.New("the first line is not that of a reference")
	}
	if got := digest.FromBytes(body); string(sum) != got.String() {
		return "", nil, fmt.Errorf("its checksum is %s instead of %s", got, sum)
	}
	quoted, data, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return "", nil, errors.New("it has no name")
	}
	name, err = strconv.Unquote(string(quoted))
	return name, data, err
}

// refPath is where the reference name is. Names have slashes and colons and
// may be longer than a file name; their hash doesn't.
func refPath(name string) string {
	return refsDir + "/" + digest.FromBytes([]byte(name)).Hex()
}
