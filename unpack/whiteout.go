package unpack

import (
	"fmt"
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	metadataPrefix = ".wh..wh." // AUFS kept its own books in the image: .wh..wh.plnk, .wh..wh.orph, .wh..wh.aufs
)

type nameKind int

const (
	ordinary nameKind = iota
	whiteout
	opaque
	metadata
	reserved // no file may have such a name
)

// classify says what a name means, and for a whiteout what it hides.
func classify(parent, base string) (hidden string, kind nameKind) {
	if strings.Contains(parent, whiteoutPrefix) { // else nearly every name would be split for nothing
		for part := range strings.SplitSeq(parent, "/") {
			if strings.HasPrefix(part, metadataPrefix) && part != opaqueMarker {
				return "", metadata
			}
			if strings.HasPrefix(part, whiteoutPrefix) {
				return "", reserved
			}
		}
	}
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok:
		return "", ordinary
	case base == opaqueMarker:
		return "", opaque
	case strings.HasPrefix(base, metadataPrefix):
		return "", metadata
	case hidden == "" || hidden == "." || hidden == "..":
		return "", reserved // would be the directory itself, or its parent
	}
	return hidden, whiteout
}

// whiteout removes what lower layers brought by that name. Neither the name nor its parent need be there.
func (e *engine) whiteout(parent, hidden string) error {
	dir, err := e.resolve(parent)
	if err != nil || dir == nil {
		return err
	}
	if n := dir.dir.kids[hidden]; n != nil {
		return e.prune(n)
	}
	return nil
}

// opaque removes what lower layers brought into a directory.
func (e *engine) opaque(parent string) error {
	dir, err := e.resolve(parent)
	if err != nil || dir == nil {
		return err
	}
	for _, n := range dir.dir.kids {
		if err := e.prune(n); err != nil {
			return fmt.Errorf("emptying %s: %w", quote(parent), err)
		}
	}
	return nil
}

// prune removes n but for what the layer in hand wrote. Parents of what was written count as written, so n either goes as a
// whole or stays.
func (e *engine) prune(n *node) error {
	if n.layer != e.layer {
		return e.remove(n)
	}
	if n.dir == nil {
		return nil
	}
	if n.dir.own != e.layer {
		n.dir.attrs = implied() // those it has are of the directory just hidden
	}
	for _, kid := range n.dir.kids {
		if err := e.prune(kid); err != nil {
			return err
		}
	}
	return nil
}
