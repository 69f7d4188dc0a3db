package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// each gives use the streams of the named files, or of standard input for none and for "-". One file that can't be
// read does not keep the others from being used.
func each(s streams, files []string, use func(name string, r io.Reader) error) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var errs []error
	for _, name := range files {
		errs = append(errs, one(s, name, use))
	}
	return errors.Join(errs...)
}

func one(s streams, name string, use func(string, io.Reader) error) error {
	if name == "-" {
		return use(name, s.in)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return use(name, f)
}

func cat(s streams, args []string) error {
	_, files, err := options(args, "")
	if err != nil {
		return err
	}
	return each(s, files, func(_ string, r io.Reader) error {
		_, err := io.Copy(s.out, r)
		return err
	})
}

func echo(s streams, args []string) error {
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	_, err := io.WriteString(s.out, strings.Join(args, " ")+end)
	return err
}

func head(s streams, args []string) error {
	given, files, err := options(args, "n:0123456789")
	if err != nil {
		return err
	}
	count := "10"
	if has(given, 'n') {
		count = given['n']
	} else if len(given) > 0 { // head -5, of which options made single digits
		count, files = args[0][1:], args[1:]
	}
	lines, err := strconv.Atoi(count)
	if err != nil || lines < 0 {
		return errUsage
	}
	return each(s, files, func(_ string, r io.Reader) error { return firstLines(s.out, r, lines) })
}

func firstLines(w io.Writer, r io.Reader, n int) error {
	br := bufio.NewReader(r)
	for range n {
		line, err := br.ReadBytes('\n')
		if _, werr := w.Write(line); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sha256sum(s streams, args []string) error {
	_, files, err := options(args, "")
	if err != nil {
		return err
	}
	return each(s, files, func(name string, r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.out, "%x  %s\n", h.Sum(nil), name)
		return err
	})
}

func wc(s streams, args []string) error {
	given, files, err := options(args, "lwc")
	if err != nil {
		return err
	}
	return each(s, files, func(name string, r io.Reader) error {
		lines, words, size, err := count(r)
		if err != nil {
			return err
		}
		var columns []string
		for i, letter := range []byte("lwc") {
			if len(given) == 0 || has(given, letter) {
				columns = append(columns, strconv.FormatInt([]int64{lines, words, size}[i], 10))
			}
		}
		if name != "-" {
			columns = append(columns, name)
		}
		_, err = fmt.Fprintln(s.out, strings.Join(columns, " "))
		return err
	})
}

func count(r io.Reader) (lines, words, size int64, err error) {
	inWord, buf := false, make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		size += int64(n)
		for _, b := range buf[:n] {
			if b == '\n' {
				lines++
			}
			if strings.IndexByte(" \t\n\v\f\r", b) >= 0 {
				inWord = false
			} else if !inWord {
				inWord, words = true, words+1
			}
		}
		if err == io.EOF {
			return lines, words, size, nil
		}
		if err != nil {
			return 0, 0, 0, err
		}
	}
}
