package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/spec"
)

// Flags whose values mean something are parsed as they are read, so that the error stands by the
// flag's name and nothing has happened yet.

// triState is a flag that was set, cleared or left alone.
type triState struct{ set, value bool }

func (t *triState) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*t = triState{true, v}
	return err
}
func (t *triState) String() string { return strconv.FormatBool(t.value) }
func (t *triState) Type() string   { return "bool" }

// textFlag is a value kept as text that must have a meaning: a flag with a String of its own.
type textFlag struct {
	text string
	set  func(string) error
}

func (t *textFlag) Set(s string) error {
	err := t.set(s)
	if err == nil {
		t.text = s
	}
	return err
}
func (t *textFlag) String() string { return t.text }
func (t *textFlag) Type() string   { return "value" }

// each makes a flag that may be given many times of a function for each.
func each(set func(string) error) pflag.Value { return &textFlag{set: set} }

// noting remembers that a flag was given.
func noting(given *bool, v pflag.Value) pflag.Value {
	return each(func(s string) error {
		*given = true
		return v.Set(s)
	})
}

// parsed makes a flag of a parser; the last one given counts.
func parsed[T any](to *T, parse func(string) (T, error)) pflag.Value {
	return each(func(s string) error {
		x, err := parse(s)
		if err == nil {
			*to = x
		}
		return err
	})
}

// optional is parsed for a value that may be left out.
func optional[T any](to **T, parse func(string) (T, error)) pflag.Value {
	return each(func(s string) error {
		x, err := parse(s)
		if err == nil {
			*to = &x
		}
		return err
	})
}

// appended collects parsed values.
func appended[T any](to *[]T, parse func(string) (T, error)) pflag.Value {
	return each(func(s string) error {
		x, err := parse(s)
		if err == nil {
			*to = append(*to, x)
		}
		return err
	})
}

// pairs collects NAME=VALUE pairs.
func pairs(to *map[string]string, parse func(string) (name, value string, err error)) pflag.Value {
	return each(func(s string) error {
		name, value, err := parse(s)
		if err == nil {
			if *to == nil {
				*to = map[string]string{}
			}
			(*to)[name] = value
		}
		return err
	})
}

func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, numError(s, err)
}

func parseUint(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, numError(s, err)
}

func parseSmall(s string) (int, error) {
	n, err := strconv.Atoi(s)
	return n, numError(s, err)
}

func parseWeight(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), numError(s, err)
}

func numError(s string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q: want a whole number", s)
}

func cpusFlag(to *spec.Resources) pflag.Value {
	return each(func(s string) error {
		quota, period, err := spec.ParseCPUs(s)
		if err == nil {
			to.CPUQuota, to.CPUPeriod = &quota, &period
		}
		return err
	})
}

// throttleFlag collects device limits; the device's number is looked up as the flag is read.
func throttleFlag(to *[]spec.Throttle, parse func(string) (string, uint64, error)) pflag.Value {
	return each(func(s string) error {
		device, rate, err := parse(s)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(device, &st); err != nil {
			return fmt.Errorf("%s: %w", device, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFBLK {
			return fmt.Errorf("%s is not a block device", device)
		}
		*to = append(*to, spec.Throttle{Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Rate: rate})
		return nil
	})
}

// refuse adds the flags that docker and podman have and umiak has not: each is answered by name,
// with what to do instead, and never taken in silence.
func refuse(f *pflag.FlagSet) {
	for name, hint := range spec.Unsupported() {
		shown, short := "--"+name, ""
		if len(name) == 1 {
			shown, short, name = "-"+name, name, "unsupported-"+name
		}
		if f.Lookup(name) != nil || short != "" && f.ShorthandLookup(short) != nil {
			continue
		}
		f.VarP(each(func(string) error {
			return hinted(errors.New(shown+" is not supported"), hint)
		}), name, short, "")
		f.Lookup(name).NoOptDefVal = "true"
		_ = f.MarkHidden(name)
	}
}
