package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"strings"
)

// source is a stream as a reader.
type source struct {
	ctx    context.Context
	stream *stream
	block  *block // the one being read from
	rest   []byte // of it

	// While lending is set, Read fills in no bytes but keeps what they would be in lent.
	lending bool
	lent    piece
	one     [1]byte
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.fill(); err != nil {
		return 0, err
	}
	n := min(len(p), len(s.rest))
	if s.lending {
		s.block.users.Add(1)
		s.lent = piece{s.rest[:n:n], s.block}
	} else {
		copy(p, s.rest)
	}
	s.rest = s.rest[n:]
	return n, nil
}

// fill sees to it that there is something to be read.
func (s *source) fill() error {
	for len(s.rest) == 0 {
		if s.block != nil {
			s.block.release()
			s.block = nil
		}
		select {
		case b, ok := <-s.stream.blocks:
			if !ok {
				return s.stream.err
			}
			s.block, s.rest = b, b.data
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	return nil
}

// contents is what is in a file: to be read, or to be taken piece by piece, which copies nothing.
type contents struct {
	io.Reader // of the archive
	size      int64
	taken     int64
	source    *source // nil: can only be read
}

var errLending = errors.New("archive/tar does not pass on reads as it used to")

// newContents knows that archive/tar gives the buffer of whoever reads a plain file to the reader below as it is, and does
// not look at what comes. Of a sparse file it does make something else.
func newContents(h *tar.Header, tr *tar.Reader, s *source) *contents {
	c := &contents{Reader: tr, size: h.Size}
	if s != nil && !sparse(h) {
		c.source = s
	}
	return c
}

func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// next gives the next piece, to be released by who takes it, or io.EOF.
func (c *contents) next() (piece, error) {
	s := c.source
	room := s.one[:]
	if c.taken < c.size && s.fill() == nil {
		room = s.rest // as much as can come; nothing is written there
	}
	s.lending = true
	n, err := c.Read(room)
	s.lending = false
	p := s.lent
	s.lent = piece{}
	c.taken += int64(len(p.data))
	switch {
	case n != len(p.data) && err == nil, err == io.EOF && c.taken != c.size:
		err = errLending
	case n > 0 && err == io.EOF:
		err = nil // comes again
	}
	if err != nil && p.block != nil {
		p.block.release()
		p = piece{}
	}
	return p, err
}
