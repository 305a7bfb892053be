module github.com/lectern/lectern/wire

go 1.22
