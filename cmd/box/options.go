package main

import (
	"strconv"
	"strings"
)

// options takes the one-letter options off args: spec lists the letters, one followed by ':' wants a value. As POSIX
// has it, "-la" is "-l -a", and the first operand or "--" ends them.
func options(args []string, spec string) (given map[byte]string, operands []string, err error) {
	given = map[byte]string{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := args[0][1:]
		args = args[1:]
		if word == "-" {
			break
		}
		for word != "" {
			letter := word[0]
			word = word[1:]
			at := strings.IndexByte(spec, letter)
			switch {
			case at < 0 || letter == ':':
				return nil, nil, errUsage
			case !strings.HasPrefix(spec[at+1:], ":"):
				given[letter] = ""
			case word != "":
				given[letter], word = word, ""
			case len(args) > 0:
				given[letter], args = args[0], args[1:]
			default:
				return nil, nil, errUsage
			}
		}
	}
	return given, args, nil
}

func has(given map[byte]string, letter byte) bool {
	_, ok := given[letter]
	return ok
}

// bytesOf reads a size such as 512, 10k, 10m or 1g.
func bytesOf(s string) (int64, error) {
	unit, number := int64(1), strings.ToLower(s)
	for letter, u := range map[string]int64{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
		if rest, ok := strings.CutSuffix(number, letter); ok {
			unit, number = u, rest
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<62/unit {
		return 0, errUsage
	}
	return n * unit, nil
}

// human prints a number of bytes as people say it: 100M, 1.5G.
func human(n int64) string {
	units := "BKMGTPE"
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + units[i:i+1]
}
