package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
)

// row is one thing measured.
type row struct {
	name string
	what string // in a few words
	// next prepares a run, which is not timed, and gives its command. Nil for a row that is left out.
	next    func(context.Context) (command, error)
	left    string // why it is left out
	samples []timing
}

// always is the next of a command that needs no preparation.
func always(c command) func(context.Context) (command, error) {
	return func(context.Context) (command, error) { return c, nil }
}

func leftOut(name, why string) *row { return &row{name: name, left: why} }

// interleave runs all rows in rounds: what else the machine does meanwhile befalls all of them alike. The order within a
// round changes, since a command pays for what the one before it left to be tidied up in the background. A row that fails
// is left out from then on, and says why.
func (s *stage) interleave(ctx context.Context, rows []*row, warmup, runs int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	order := rand.New(rand.NewPCG(1, 2))
	for round := range warmup + runs {
		for _, i := range order.Perm(len(rows)) {
			r := rows[i]
			if r.left != "" {
				continue
			}
			got, err := s.once(ctx, r)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.left, r.samples = "failed: "+err.Error(), nil
			} else if round >= warmup {
				r.samples = append(r.samples, got)
			}
		}
	}
	return nil
}

func (s *stage) once(ctx context.Context, r *row) (timing, error) {
	c, err := r.next(ctx)
	if err != nil {
		return timing{}, err
	}
	return s.time(ctx, c)
}

// mustHave is an error if the row could not be measured.
func (r *row) mustHave() error {
	if r.left != "" {
		return errors.New(r.name + ": " + r.left)
	}
	return nil
}

// firstMeasured is the first of rows that was, or the last.
func firstMeasured(rows ...*row) *row {
	for _, r := range rows {
		if r.left == "" {
			return r
		}
	}
	return rows[len(rows)-1]
}

// pair are two rows whose ratio is worth a line of its own.
type pair struct{ a, b *row }
