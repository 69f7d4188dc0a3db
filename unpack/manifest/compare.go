package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A Difference is one thing about one name that is not as the manifest has it.
type Difference struct {
	Path      string
	Kind      Kind
	Want, Got string // as messages show them; empty where the kind says all
}

// Kind says what differs.
type Kind string

// The kinds of differences. What is in a directory that is missing, extra or not a
// directory any more is not reported by itself.
const (
	Missing Kind = "missing"
	Extra   Kind = "extra"
	Type    Kind = "type"
	Mode    Kind = "mode"
	Owner   Kind = "owner"
	MTime   Kind = "mtime"
	Size    Kind = "size"
	Content Kind = "content"
	Target  Kind = "link target"
	Device  Kind = "device"
	Link    Kind = "hard link"
	Xattr   Kind = "xattr"
)

func (d Difference) String() string {
	s := Quote(d.Path) + ": " + string(d.Kind)
	if d.Kind == Missing || d.Kind == Extra {
		return s
	}
	return fmt.Sprintf("%s is %s, not %s", s, d.Got, d.Want)
}

// Quote shows a path, in quotes if it needs them: it may hold anything, escape
// sequences for terminals included.
func Quote(path string) string {
	if strings.Trim(path, " ") == path && !strings.ContainsAny(path, `:"\`) && strconv.Quote(path) == `"`+path+`"` {
		return path
	}
	return strconv.Quote(path)
}

// Compare reports in what the tree in root differs from manifest m. The error wraps
// ErrDamaged, and nothing is reported, if m is not to be trusted; any other error
// means that not everything could be looked at.
func Compare(ctx context.Context, root *os.File, m io.ReadSeeker, report func(Difference)) error {
	if _, err := Check(m); err != nil {
		return err
	}
	if _, err := m.Seek(0, io.SeekStart); err != nil {
		return err
	}
	c := &comparer{in: newReader(m), report: report}
	if err := c.advance(); err != nil {
		return err
	}
	if err := walk(ctx, root, c.visit); err != nil {
		return err
	}
	return c.missing(func(*entry) bool { return true })
}

// comparer joins two sorted lists: the manifest, and the names that are visited.
type comparer struct {
	in     *reader
	want   *entry // the next of the manifest, nil at its end
	passed string // a path of the tree; what is in it is not looked at
	report func(Difference)
}

func (c *comparer) advance() (err error) {
	c.want, err = c.in.next()
	return err
}

// missing reports entries of the manifest as long as they are among those meant.
func (c *comparer) missing(meant func(*entry) bool) error {
	for c.want != nil && meant(c.want) {
		top := c.want.path
		c.report(Difference{Path: top, Kind: Missing})
		if err := c.skip(top); err != nil {
			return err
		}
	}
	return nil
}

// skip passes over an entry and all in it.
func (c *comparer) skip(top string) error {
	for c.want != nil && below(c.want.path, top) {
		if err := c.advance(); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) visit(got *entry) error {
	if c.passed != "" && below(got.path, c.passed) {
		return nil
	}
	if err := c.missing(func(e *entry) bool { return compare(e.path, got.path) < 0 }); err != nil {
		return err
	}
	want := c.want
	switch {
	case want == nil || want.path != got.path:
		c.report(Difference{Path: got.path, Kind: Extra})
		c.passed = got.path
		return nil
	case want.typ != got.typ:
		c.report(Difference{got.path, Type, want.typeName(), got.typeName()})
		c.passed = got.path
		return c.skip(want.path)
	case !bytes.Equal(want.append(nil), got.append(nil)):
		for _, f := range want.fields(got) {
			if f.Want != f.Got {
				c.report(f)
			}
		}
	}
	return c.advance()
}

func (e *entry) typeName() string {
	switch e.typ {
	case 'f':
		return "a file"
	case 'd':
		return "a directory"
	case 'l':
		return "a symbolic link"
	case 'c':
		return "a character device"
	case 'b':
		return "a block device"
	case 'p':
		return "a fifo"
	}
	return "a socket"
}

// fields sets what may differ side by side.
func (e *entry) fields(got *entry) []Difference {
	row := func(k Kind, field func(*entry) string) Difference {
		return Difference{e.path, k, field(e), field(got)}
	}
	list := []Difference{
		row(Mode, func(e *entry) string { return fmt.Sprintf("%04o", e.mode) }),
		row(Owner, func(e *entry) string { return fmt.Sprintf("%d:%d", e.uid, e.gid) }),
		row(MTime, (*entry).time),
		row(Link, func(e *entry) string {
			if e.link == "" {
				return "none"
			}
			return Quote(e.link)
		}),
	}
	switch {
	case e.typ == 'f' && e.size != got.size:
		list = append(list, row(Size, func(e *entry) string { return strconv.FormatInt(e.size, 10) }))
	case e.typ == 'f':
		list = append(list, row(Content, func(e *entry) string { return e.sum }))
	case e.typ == 'l':
		list = append(list, row(Target, func(e *entry) string { return strconv.Quote(e.target) }))
	default:
		list = append(list, row(Device, (*entry).device))
	}
	return append(list, e.xattrFields(got)...)
}

func (e *entry) xattrFields(got *entry) []Difference {
	var list []Difference
	text := func(x xattr) string { return Quote(x.name) + "=" + x.value }
	i, j := 0, 0
	for i < len(e.xattrs) || j < len(got.xattrs) {
		d := Difference{Path: e.path, Kind: Xattr}
		switch {
		case j == len(got.xattrs) || i < len(e.xattrs) && e.xattrs[i].name < got.xattrs[j].name:
			d.Want, d.Got = text(e.xattrs[i]), "missing"
			i++
		case i == len(e.xattrs) || e.xattrs[i].name > got.xattrs[j].name:
			d.Want, d.Got = "missing", text(got.xattrs[j])
			j++
		default:
			d.Want, d.Got = text(e.xattrs[i]), text(got.xattrs[j])
			i, j = i+1, j+1
		}
		list = append(list, d)
	}
	return list
}
