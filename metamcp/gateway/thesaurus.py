"""Words that people use for the same thing when they say what they want done, and what tools say that do it.

General English of offices, computers and daily life, and nothing about any one product but what it is also called. A
word may stand in several lines; inflected forms need not.
"""

from __future__ import annotations

GROUPS = """
create add new make open file register insert enter put start compose write set up
delete remove erase drop discard destroy clear trash throw away purge clean wipe eliminate rid
list show enumerate display browse view see get overview which all
get fetch retrieve read load obtain receive show see view look tell give what
update change edit modify alter adjust patch revise set correct amend rewrite
search find look locate query discover seek where lookup
send post deliver submit transmit message tell notify share publish write inform
move transfer relocate migrate rename shift transition advance
rename retitle relabel move name
copy duplicate clone replicate fork copies
start begin launch run trigger kick execute activate initiate boot power switch on
stop end halt terminate kill abort cancel quit shut pause off finish
restart reboot rerun retry again relaunch repeat redo reload once more
cancel abort revoke withdraw undo annul call off
undo revert rollback restore back
enable activate allow on turn permit
disable deactivate forbid off turn prevent suspend block nobody
block ban deny restrict protect forbid reject prevent suspend nobody prohibit
protect guard secure lock encrypt safeguard restrict
lock secure protect password encrypt close
approve accept confirm agree ok authorize grant yes permit
decline reject refuse deny no respond answer invitation
accept yes agree confirm
reply answer respond response
explain why reason cause understand analyze analysis clarify describe
describe detail schema structure explain information describe columns fields layout
analyze analysis examine inspect investigate study evaluate diagnose
check verify validate test inspect examine ensure whether health ok
monitor watch observe track follow alert notify
watch follow subscribe monitor notify
compare difference diff versus contrast
merge combine join unite consolidate together one unify
split divide separate cut partition pieces
sort order rank arrange
filter select narrow match
count number many amount total how quantity
calculate compute evaluate figure out work math
convert change transform turn into translate between
export save output download extract dump
import load ingest read upload bring
upload attach put send add object
download save get fetch pull retrieve
attach attachment upload add enclose file came
save store keep persist write backup put
backup copy save archive dump snapshot
archive store retire shelve
schedule plan later postpone future time timetable appointment calendar
plan schedule organize prepare
book reserve reservation booking order ticket
buy purchase acquire order shop pay get
sell sale market
pay payment charge bill settle
assign give allocate delegate owner hand responsible assignee
invite ask join invitation add
request ask apply demand want need
ask question query request prompt
mute silence quiet suppress snooze ignore
silence mute suppress no
suppress no silence mute hide
ignore mute suspend skip suppress
acknowledge confirm ack seen
resolve fix close solve done complete
fix repair solve resolve correct suggest code
complete finish done close resolve end mark
done finished complete completed resolved closed
log record track note enter write down
note comment remark memo annotation log jot
comment remark feedback note discuss reply
mark flag tag label annotate
label tag category mark
react reaction emoji like smiley
share link send publish public presigned
link connect relate associate relation url
connect associate link attach join
expire disappear ttl expiration vanish timeout lapse expiry run out
expiry expire end run out valid until
deploy release publish rollout ship upload
ship send deliver fulfill dispatch shipment shipping
scale resize replica copies more grow instances
resize scale smaller bigger larger shrink size dimension
compress shrink smaller reduce zip size
crop cut trim clip
rotate turn flip
draw plot paint render chart
render draw display produce convert
generate create produce make build
build compile make construct assemble
recommend suggest propose advise recommendation suggestion similar
suggest propose recommend complete
predict forecast estimate future next expect project
forecast predict future next tomorrow will expect outlook
summarize summary shorten gist brief digest condense abstract overview
translate translation language say german french spanish english foreign
transcribe transcript speech said spoken words subtitles caption dictation
transcript subtitles said spoken captions transcribe text
speak talk say voice speech aloud
recognize ocr read detect scan text words
detect find recognize identify discover spot
scan check examine inspect look search scanned
navigate go open visit browse goto
click press tap push
type enter write fill key
fill complete enter form
play listen start music hear resume
skip next forward
pause halt hold stop
lookup find details look information
reconcile match balance compare
associate link connect relate
purge clear flush empty invalidate remove
prune clean remove free unused reclaim tidy
free unused reclaim empty available
vacuum clean compact shrink
cordon drain isolate
fulfill ship complete deliver
refund money back return reimburse repay
dispute chargeback complaint contest
discount coupon voucher promotion rebate code reduction
subscribe subscription plan membership
subscription plan membership recurring
onboard welcome hire joiner new
interview candidate applicant hire
candidate applicant hire job recruit
job position vacancy role task work
hire recruit job employ
employee worker staff person colleague people
employee colleague teammate staff
user person people member account who colleague somebody
member user participant person team
customer client buyer shopper consumer purchaser visitor person
contact person client customer lead people
vendor supplier seller merchant provider
attendee participant guest invitee people everybody us
owner assignee responsible person
organization company firm business enterprise
company firm business corporation organization enterprise
business company shop store place restaurant
place restaurant cafe shop store bar location spot
restaurant eat food dinner cuisine dining
local near nearby close around here me
near nearby close around
team group people crew colleagues
group team set
boss manager chief supervisor
requester customer client user
agent staff support
oncall duty call night who pager shift
on-call duty night shift pager
responder helper on-call
page alert notify pager incident call
incident outage problem emergency alert pages
alert alarm warning notification incident page
alarm alert warning
notification notify alert reminder message
reminder remind notify alert forget remember
error exception failure bug fault crash problem issue wrong
exception error crash failure bug
bug issue defect error problem fault
issue bug problem ticket defect task story
ticket issue case request task bug support
case ticket issue matter
task todo issue ticket job work
incident issue problem
failure fail broke broken error
fail broke broken crash failed break wrong
crash fail die error broken
slow performance speed latency plan cost fast
performance speed slow latency fast efficiency
log logs output trace console printed print messages stdout
output log result print console printed
trace log stack output
history past previous earlier former versions log before changed recent
recent last latest lately new newest past
latest recent newest current headlines
news headlines article current events press
article story page post text news
version revision release history
release version publish deploy
current now present today right
status state condition progress late
state status condition
delay late on time behind
late delay status delayed
health status condition ok well fine alive
statistics metrics numbers figures stats
metrics statistics numbers measure figures likes
report summary overview statement show
report tell file raise
dashboard panel board overview
graph chart diagram plot
chart graph plot diagram visual
table sheet grid columns rows
column field attribute
row record entry line
record row entry document item
document file record page paper record text
documents records entries files items
collection set group category
database db data store
index search speed
query sql statement search select
statement sql query command
schema structure columns layout table
key entry name
value content number
cache cached cdn store stored
session connection process
backend connection process session database
connection link session
process program task run
file document folder attachment
directory folder
folder directory path
contents content inside text body what
content contents text body inside
metadata information details properties size
path location place where
disk space storage drive
storage disk space bucket
bucket s3 storage container
object file item blob
repository repo project codebase source git
repo repository project codebase
project repository program
branch main master line
main master default branch
commit change history revision
push upload write change
pull merge fetch download
pr pull request merge review
code source program script function
source code origin
function method procedure routine
script program code
snippet piece gist code
pipeline ci build workflow job
workflow pipeline process action
build ci job compile
ci pipeline build workflow actions
milestone deadline goal phase
sprint iteration cycle
cycle sprint iteration
estimate size points quote effort guess
estimate quote offer proposal
worklog time hours spent work log
hours time worklog spent
priority urgency importance
assignee owner responsible
container docker pod image
pod container k8s kubernetes
kubernetes k8s cluster kube
k8s kubernetes
cluster server nodes
node machine server host agent
server machine host node computer
host machine server computer site
deployment app service workload
service system app application
application app program software
image picture photo photograph pic screenshot
picture image photo snapshot screenshot capture
photo picture image photograph snapshot
screenshot picture image capture snapshot
snapshot picture photo copy capture
video clip film movie youtube recording
clip video film youtube
audio sound voice recording speech
music song track tune audio
song track music tune
track song music
playlist songs list mix
artist band singer musician
album record
volume loudness loud quiet sound
book paper publication
paper study article publication research
study paper research publication work
research papers studies study
citation cite reference
email mail e-mail message
mail email message
message mail text chat note email
message text chat said people
chat channel room conversation message
channel room chat group
room channel chat
conversation thread chat discussion
thread conversation discussion
discussion forum thread talk conversation
forum discussion community
talk discuss speak trending
trending popular hot talking people
topic subject theme
subject title topic
sms text message mobile phone
text sms message
mobile phone cell sms
phone call telephone mobile ring
call phone ring telephone
recording audio record
inbox mailbox mail folder
vacation holiday leave away out-of-office pto responder
holiday vacation leave day off away
leave vacation holiday time off absence
off leave vacation holiday time
balance left remaining rest available
remaining left balance rest
left remaining balance rest
automatic automatically auto
sender from requester
meeting appointment event call session calendar
event meeting appointment calendar
appointment meeting event schedule slot
calendar schedule agenda diary meeting
agenda calendar schedule events
slot time free available when
available free busy when
free busy available
invitation invite meeting
date day when
day date
time hour clock when
timezone time zone
duration length long time
long duration time distance length far
distance far long length drive travel
far distance
drive travel car route directions
travel trip drive journey time
route directions way path drive
directions route way navigate
trip travel journey flight
map location place
location place position address where
address location place street
coordinates latitude longitude position
position location coordinates
flight plane airplane fly airline
plane flight airplane aircraft
airport plane flight
fare price ticket cost flight
luggage baggage suitcase bag
baggage luggage suitcase bag
seat place chair
visa passport entry enter
hotel room accommodation stay
weather rain temperature sun snow storm wind
rain weather precipitation wet umbrella forecast
temperature warm cold heat warmer degrees
warm temperature heat thermostat warmer
warmer heat thermostat temperature climate
cold temperature cool
climate heating thermostat temperature
thermostat heating temperature warm
light lamp bulb brightness
lamp light bulb
door lock gate
blinds curtain shutter shade cover
home house living smart
device machine gadget
sensor measurement reading
money cash funds payment
cost price spend expense spending bill
spend cost expense pay spending usage
price cost fare rate fee
expense cost spend spending
budget limit spending
currency money euro dollar exchange
euro currency exchange dollar eur
dollar currency exchange usd euro
exchange convert currency rate
rate price ratio
stock share equity
share stock equity
quote price current
crypto bitcoin coin ethereum cryptocurrency
bitcoin crypto cryptocurrency coin
profit earning gain income loss revenue earn
earn profit income revenue
income earning profit revenue salary
revenue income sales turnover
loss profit spend
invoice bill receipt
bill invoice charge
tax vat duty
payroll salary wage pay
salary wage pay payslip
payslip salary paycheck pay
order purchase
product item article goods
inventory stock quantity available
stock inventory
cart basket checkout
checkout cart basket shopping
abandoned left unfinished without incomplete
shopping cart store buy checkout
tracking number shipment parcel package
parcel package shipment
deal opportunity sale
campaign marketing newsletter
marketing campaign advertising
duplicate same twice copy two
same duplicate equal
internal private hidden see only team
private internal secret hidden
public open visible everybody
visible public show
secret credential password key token
credential secret password
password passcode passphrase code secret
passcode otp code verification
code passcode
certificate cert tls ssl https
https tls ssl certificate
ssl tls https certificate encryption
vulnerability weakness hole cve security
malware virus trojan
virus malware
breach leak stolen
domain site dns website
subdomain dns domain record
dns domain subdomain nameserver record name
ip address
website site page web
site website page
web internet online page
page website site article document
url link address web page
link url
wiki confluence knowledge page article documentation
article page wiki
documentation docs wiki help
help support assistance
support help ticket
space area
paragraph text block section
block paragraph section
section part block
temporary limited day while expire
period quarter month week year
quarter period month
month period
maintenance upgrade planned downtime work
upgrade update maintenance
traffic visitors requests
visitor user traffic customer
firewall block security
unused old dangling idle
old previous unused stale outdated
access permission right
permission access right
people users members who
social facebook twitter instagram media
opinion rating review
rating review satisfaction score stars
satisfaction happy rating feedback
happy satisfaction satisfied
review feedback rating
performance review evaluation
schedule roster shift
substitute replacement override
override replace instead substitute
replace substitute override instead
prime factor
grammar spelling style
spelling grammar typo
spellcheck spelling typo
glossary terms vocabulary
term word
word text term
words text
watermark stamp logo
background backdrop
transparent clear
face person people
color colour
font typography
design layout figma style
layout design structure
component element part
element component button
button element
option choice
dropdown select option
signature sign
sign signature
sensitive confidential secret private
redact black hide censor
cell spreadsheet excel
spreadsheet excel sheet worksheet workbook
excel spreadsheet worksheet workbook
formula calculation
csv comma separated
comma csv
json document
html web page
markdown text
feed rss
"""
"""Groups of words, one a line; a word of a group may stand for each other one."""
