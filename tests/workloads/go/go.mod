module split

go 1.21
