package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// operate does the same to every operand, of which there must be one, and goes on after an error.
func operate(args []string, spec string, do func(given map[byte]string, name string) error) error {
	given, operands, err := options(args, spec)
	if err != nil {
		return err
	}
	if len(operands) == 0 {
		return errUsage
	}
	var errs []error
	for _, name := range operands {
		errs = append(errs, do(given, name))
	}
	return errors.Join(errs...)
}

func mkdir(_ streams, args []string) error {
	return operate(args, "p", func(given map[byte]string, name string) error {
		if has(given, 'p') {
			return os.MkdirAll(name, 0o777)
		}
		return os.Mkdir(name, 0o777)
	})
}

func rm(_ streams, args []string) error {
	return operate(args, "rf", func(given map[byte]string, name string) error {
		info, err := os.Lstat(name)
		switch {
		case errors.Is(err, os.ErrNotExist) && has(given, 'f'):
			return nil
		case err != nil:
			return err
		case has(given, 'r'):
			return os.RemoveAll(name)
		case info.IsDir():
			return fmt.Errorf("%s: %w", name, unix.EISDIR)
		}
		return os.Remove(name)
	})
}

func touch(_ streams, args []string) error {
	return operate(args, "", func(_ map[byte]string, name string) error {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK, 0o666)
		if errors.Is(err, unix.EISDIR) { // a directory can be touched, if not opened
			now := time.Now()
			return os.Chtimes(name, now, now)
		}
		if err != nil {
			return err
		}
		now := time.Now()
		return errors.Join(f.Close(), os.Chtimes(name, now, now))
	})
}

func ln(_ streams, args []string) error {
	given, operands, err := options(args, "sf")
	if err != nil || len(operands) != 2 {
		return errUsage
	}
	target, link := operands[0], operands[1]
	if has(given, 'f') {
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if has(given, 's') {
		return os.Symlink(target, link)
	}
	return os.Link(target, link)
}

func pwd(s streams, args []string) error {
	if len(args) > 0 {
		return errUsage
	}
	dir, err := unix.Getwd() // what the kernel says; $PWD may say what somebody else meant
	if err != nil {
		return fmt.Errorf("reading the working directory: %w", err)
	}
	_, err = fmt.Fprintln(s.out, dir)
	return err
}
