# What "make repro" and "make test" do, for Windows; written for Windows PowerShell 5.1 and PowerShell 7. A test holds it equal to
# the Makefile.
# ASCII only: Windows PowerShell reads a file without a byte order mark in the system's code page.
param([switch]$Test, [string]$Python, [switch]$Help)
$ErrorActionPreference = 'Stop'

if ($Help) {
    Write-Output @'
scripts\repro.ps1            set up .venv, replay every shipped case through every solver, write reports\latest\index.html
scripts\repro.ps1 -Test      set up .venv, lint, run all tests
    -Python PATH             the Python that .venv is made with, in place of the one on PATH
    -Help                    this

Needs Python 3.11 or newer: python on PATH, so that of an active environment, or else the newest that "py -3" knows.
pip reads its own variables, as in: $env:PIP_EXTRA_INDEX_URL = 'https://download.pytorch.org/whl/cu130'
Where scripts are not allowed to run:
    powershell -ExecutionPolicy Bypass -File scripts\repro.ps1
Exit code: 0 as expected, 1 a failure was found, 2 wrong use; pip's own where the set-up failed.
'@
    exit 0
}

# No double quotes in arguments: Windows PowerShell 5.1 loses them on the way to a program.
$recent = 'import sys; sys.exit(sys.version_info < (3, 11))'

function Find-Python {
    $candidates = @(@('python'), @('py', '-3'))
    if ($Python) { $candidates = @(, @($Python)) }
    foreach ($candidate in $candidates) {
        if (-not (Get-Command $candidate[0] -CommandType Application -ErrorAction SilentlyContinue)) { continue }
        $words = @($candidate | Select-Object -Skip 1)
        # Out-Host: what a candidate prints is for the eye and not this function's answer.
        & $candidate[0] @words -c $recent | Out-Host
        if ($LASTEXITCODE -eq 0) { return $candidate }
    }
    Write-Host 'no Python 3.11 or newer answers to "python" or "py -3", or is what -Python names: install one from python.org'
    exit 2
}

function Invoke-Python([string[]]$Words) {
    & $script:venvPython @Words
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

function Test-Ready([string]$Stamp) {
    if (-not (Test-Path -LiteralPath $Stamp)) { return $false }
    $made = (Get-Item -LiteralPath $Stamp -Force).LastWriteTimeUtc
    return -not (Get-Item -LiteralPath 'pyproject.toml', 'constraints.txt' | Where-Object { $_.LastWriteTimeUtc -gt $made })
}

Push-Location -LiteralPath (Split-Path -Parent $PSScriptRoot)
try {
    $venvPython = Join-Path (Get-Location).ProviderPath '.venv\Scripts\python.exe'
    if (-not (Test-Path -LiteralPath $venvPython)) {
        $found = @(Find-Python)
        $words = @($found | Select-Object -Skip 1)
        & $found[0] @words -m venv .venv
        if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
    }
    if (-not (Test-Ready '.venv\.ready')) {
        Invoke-Python @('-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-c', 'constraints.txt', '-e', '.')
        Set-Content -LiteralPath '.venv\.ready' -Value ''
    }
    if ($Test) {
        if (-not (Test-Ready '.venv\.ready-test')) {
            Invoke-Python @('-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-c', 'constraints.txt', '-e', '.[test]')
            Set-Content -LiteralPath '.venv\.ready-test' -Value ''
        }
        Invoke-Python @('tests/lint.py')
        Invoke-Python @('-m', 'pytest', 'tests', 'cases', '-n', '2', '--dist', 'worksteal', '-m', 'not slow')
    } else {
        Invoke-Python @('-m', 'harness', 'repro', '--out', 'reports')
    }
} finally {
    Pop-Location
}
exit 0
